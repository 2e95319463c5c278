from perigrid.app.api import attach as attach
from perigrid.app.api import launch as launch
from perigrid.app.exactly_once import assert_exactly_once as assert_exactly_once
from perigrid.app.handles import Constellation as Constellation
from perigrid.app.handles import Status as Status
from perigrid.app.handles import Why as Why
from perigrid.app.inference_client import Inference as Inference
from perigrid.app.inference_client import InferenceClient as InferenceClient
from perigrid.app.inference_client import ModelMetadata as ModelMetadata
from perigrid.app.job_handle import Job as Job
from perigrid.app.results import JobResult as JobResult
from perigrid.app.results import ShardResult as ShardResult
from perigrid.app.results import TileResult as TileResult
from perigrid.app.sky.view import Sky as Sky
from perigrid.app.sky.view import open_sky as open_sky
from perigrid.errors import Bug as Bug
from perigrid.errors import CorruptFile as CorruptFile
from perigrid.errors import DataError as DataError
from perigrid.errors import EnvironmentProblem as EnvironmentProblem
from perigrid.errors import JobFailed as JobFailed
from perigrid.errors import LinkBroken as LinkBroken
from perigrid.errors import MissingFile as MissingFile
from perigrid.errors import ModelError as ModelError
from perigrid.errors import NameInUse as NameInUse
from perigrid.errors import NotRunning as NotRunning
from perigrid.errors import PerigridError as PerigridError
from perigrid.errors import ProtocolError as ProtocolError
from perigrid.errors import ScenarioError as ScenarioError
from perigrid.errors import UsageError as UsageError
from perigrid.scenario.model import DataSource as DataSource
from perigrid.scenario.model import Scenario as Scenario

__version__: str
HOMES: dict[str, str]
