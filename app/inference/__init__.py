"""Inference: forecasters, the engines that execute their networks, and checks of their inputs."""
