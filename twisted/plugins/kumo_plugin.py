"""Tells twistd of the `kumo` subcommand; nothing else belongs here.

This directory has no `__init__.py`: it extends Twisted's own `twisted.plugins`.
"""

from twisted.application.service import ServiceMaker

kumo = ServiceMaker("kumo", "kumotwist.service.tap", "A multi-protocol message handler", "kumo")
