"""Which numbers does the whole house share, and in which units?

Every quantity carries its unit as the last word of its name; the NewTypes below keep identifiers apart.
Times are float seconds. `sky` time is seconds since the scenario's epoch; `local` time is a node's own clock.
"""

from typing import NewType

NodeId = NewType("NodeId", int)
"""Index of a node in the mesh: satellites first, then ground stations, then the ground centre."""

LIGHT_KM_S = 299_792.458
"""Speed of light in vacuum, km/s; exact by definition (SI)."""

FIBRE_KM_S = LIGHT_KM_S * 2 / 3
"""Speed of light in optical fibre, km/s; refractive index of about 1.5."""

EARTH_RADIUS_KM = 6378.137
"""Equatorial radius of the Earth, km (WGS84)."""

EARTH_MEAN_RADIUS_KM = 6371.0088
"""Mean radius of the Earth, km (IUGG); for distances along the ground."""

EARTH_FLATTENING = 1 / 298.257223563
"""Flattening of the Earth's ellipsoid (WGS84)."""

EARTH_MU_KM3_S2 = 398_600.4418
"""Gravitational parameter of the Earth, km^3/s^2 (WGS84)."""

EARTH_J2 = 1.0826e-3
"""Second zonal harmonic of the Earth's gravity, dimensionless (WGS84, rounded as in the golden figures)."""

EARTH_RATE_RAD_S = 7.29211585531e-5
"""Rotation rate of the Earth against the equinox of date, rad/s: that of Greenwich mean sidereal time (IAU 1982)."""

KIB = 1024
MIB = 1024 * KIB
