"""The plugin host: finds plugins, loads each in isolation, and gives their components by id."""

from molgen.host.component import KINDS as KINDS
from molgen.host.component import Capabilities as Capabilities
from molgen.host.component import Component as Component
from molgen.host.component import ComponentKind as ComponentKind
from molgen.host.component import ComponentRef as ComponentRef
from molgen.host.component import hookimpl as hookimpl
from molgen.host.loading import PluginStatus as PluginStatus
from molgen.host.registry import Registry as Registry
from molgen.host.registry import build as build
from molgen.host.registry import plugins as plugins
from molgen.host.resolved import Resolved as Resolved
