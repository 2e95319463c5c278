"""What can go wrong, and whose fault is it?

One tree; the type says who has to act. Expected loss (a cut laser, a lost frame) is an event, never an exception.

    PerigridError
    |-- UsageError              the caller asked for something that cannot be     (exit code 2)
    |   |-- ScenarioError       a scenario, preset or job file says something wrong
    |   |-- DataError           a scene or tile that cannot be worked on
    |   |-- ModelError          a model that does not fit what is asked of it
    |   `-- NotOffered          what a protocol has, and this server does not do
    |-- EnvironmentProblem      the machine lacks something                       (exit code 3)
    |   |-- NotRunning          no constellation of that name is up
    |   |-- NameInUse           a run or a port of that name exists
    |   |-- MissingFile         a model or scene that is not on this machine
    |   |-- CorruptFile         a file that is not what its hash or format says
    |   `-- Overloaded          a bound is reached: ask again later
    |-- JobFailed               a job ended with failed shards                    (exit code 1)
    |-- LinkBroken              the other side of a wire vanished
    |   `-- DeadlinePassed      nobody waits for the answer any more
    |-- ProtocolError           the peer said something that is not in the protocol
    `-- Bug                     an invariant of ours does not hold

Every message is one paragraph that names the thing, the place and the remedy.
"""


class PerigridError(Exception):
    """Root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(PerigridError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class ScenarioError(UsageError):
    """A scenario, preset or job file says something wrong."""


class DataError(UsageError):
    """A scene or tile that cannot be worked on."""


class ModelError(UsageError):
    """A model that does not fit what is asked of it."""


class NotOffered(UsageError):
    """What a protocol has, and this server does not do."""


class EnvironmentProblem(PerigridError):
    """The machine lacks something."""

    exit_code = 3


class NotRunning(EnvironmentProblem):
    """No constellation of that name is up."""


class NameInUse(EnvironmentProblem):
    """A run or a port of that name exists."""


class MissingFile(EnvironmentProblem):
    """A model or a scene that is not on this machine."""


class CorruptFile(EnvironmentProblem):
    """A file that is not what its hash or its format says."""


class Overloaded(EnvironmentProblem):
    """A bound is reached: ask again later."""


class JobFailed(PerigridError):
    """A job ended with failed shards."""


class LinkBroken(PerigridError):
    """The other side of a wire vanished."""


class DeadlinePassed(LinkBroken):
    """Nobody waits for the answer any more."""


class ProtocolError(PerigridError):
    """The peer said something that is not in the protocol."""


class Bug(PerigridError):
    """An invariant of ours does not hold."""
