-- wrk script: POSTs the lines of a file in turn, and prints the result as one line of JSON.
-- Argument after `--`: file of request bodies, one per line.

local requests = {}
local next_request = 0

function init(arguments)
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    -- Format all requests in advance, so that sending one takes a single table lookup.
    for body in io.lines(arguments[1]) do
        requests[#requests + 1] = wrk.format(nil, nil, nil, body)
    end
end

function request()
    next_request = next_request % #requests + 1
    return requests[next_request]
end

function done(summary, latency, _)
    local errors = summary.errors
    local line = '{"duration_us": %d, "requests": %d, "p50_us": %d, "p90_us": %d, "p99_us": %d, "max_us": %d, '
        .. '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}'
    print(line:format(
        summary.duration, summary.requests, latency:percentile(50), latency:percentile(90), latency:percentile(99),
        latency.max, errors.connect, errors.read, errors.write, errors.status, errors.timeout
    ))
end
