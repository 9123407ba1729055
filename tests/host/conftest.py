"""Distributions that are installed for one test."""

from sites import site as site
