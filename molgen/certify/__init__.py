"""Certificates: what can be measured of a model without trusting who made it, kept in the model's own file."""

from molgen.certify.certificate import Certificate
from molgen.certify.certifying import certify
from molgen.certify.shown import certificate_lines

__all__ = ["Certificate", "certificate_lines", "certify"]
