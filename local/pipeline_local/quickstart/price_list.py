"""What the generated billing export is made of: SKUs with their prices, projects, and pools of labels and credits."""

import hashlib
from dataclasses import dataclass
from decimal import Decimal

BILLING_ACCOUNT = "01A2B3-C4D5E6-F70819"

SERVICES = {
    "Compute Engine": "6F81-5844-456A",
    "Cloud Storage": "95FF-2EF5-5EA1",
    "BigQuery": "24E6-581D-38E5",
    "Cloud SQL": "9662-B51E-5089",
    "Kubernetes Engine": "CCD8-9BF1-090E",
    "Cloud Run": "152E-C115-5142",
    "Vertex AI": "C7E2-9256-1C43",
    "Networking": "E505-1604-58F8",
    "Cloud Logging": "5490-F7B7-8DF6",
}


@dataclass(frozen=True)
class Unit:
    """How use is counted, how it is priced, and how many of the former make one of the latter."""

    name: str
    pricing: str
    each: float


_GIB = 2.0**30
_MONTH = 2_628_000.0
HOURS = Unit("seconds", "hour", 3600)
MILLI_HOURS = Unit("seconds", "hour", 3_600_000)
SECONDS = Unit("seconds", "seconds", 1)
GIB_HOURS = Unit("byte-seconds", "gibibyte hour", 3600 * _GIB)
GIB_MONTHS = Unit("byte-seconds", "gibibyte month", _MONTH * _GIB)
GIB = Unit("bytes", "gibibyte", _GIB)
TIB = Unit("bytes", "tebibyte", 1024 * _GIB)
REQUESTS = Unit("requests", "count", 1)
COUNT = Unit("count", "count", 1)


@dataclass(frozen=True)
class Sku:
    """One thing that is billed. `price` is in USD for `quantity` pricing units, `size` a typical hour's use in the
    unit that is counted, `weight` how often it occurs among 100 rows, about.
    """

    service: str
    description: str
    unit: Unit
    price: Decimal
    size: float
    weight: int
    quantity: int = 1

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits in three groups, as Google writes them."""
        digits = hashlib.sha256(f"{self.service}/{self.description}".encode()).hexdigest()[:12].upper()
        return "-".join((digits[:4], digits[4:8], digits[8:]))

    @property
    def list_price(self) -> Decimal:
        """The price before the customer's discount, which some services have."""
        discounted = self.service in {"Compute Engine", "BigQuery"}
        return (self.price / Decimal("0.92")).quantize(Decimal("1e-9")) if discounted else self.price


SKUS = (
    Sku("Compute Engine", "N2 Instance Core running in Frankfurt", HOURS, Decimal("0.040767"), 57_600, 14),
    Sku("Compute Engine", "N2 Instance Ram running in Frankfurt", GIB_HOURS, Decimal("0.005464"), 2.4e14, 14),
    Sku("Compute Engine", "E2 Instance Core running in Belgium", HOURS, Decimal("0.023997"), 14_400, 8),
    Sku("Compute Engine", "Spot Preemptible C3 Instance Core in Iowa", HOURS, Decimal("0.006855"), 115_200, 4),
    Sku("Compute Engine", "Balanced PD Capacity in Frankfurt", GIB_MONTHS, Decimal("0.12"), 1.9e15, 6),
    Sku("Compute Engine", "Nvidia L4 GPU running in Netherlands", HOURS, Decimal("0.616"), 7_200, 1),
    Sku("Cloud Storage", "Standard Storage Europe Multi-region", GIB_MONTHS, Decimal("0.026"), 8e15, 6),
    Sku("Cloud Storage", "Regional Standard Class A Operations", REQUESTS, Decimal("0.000005"), 12_000, 5),
    Sku("Cloud Storage", "Download Worldwide Destinations", GIB, Decimal("0.12"), 3.1e9, 3),
    Sku("BigQuery", "Analysis (eu)", TIB, Decimal("6.25"), 9e10, 5),
    Sku("BigQuery", "Active Logical Storage (eu)", GIB_MONTHS, Decimal("0.02"), 4e15, 3),
    Sku("Cloud SQL", "Cloud SQL for PostgreSQL: Zonal - vCPU in Frankfurt", HOURS, Decimal("0.0537"), 28_800, 4),
    Sku("Cloud SQL", "Cloud SQL for PostgreSQL: Zonal - RAM in Frankfurt", GIB_HOURS, Decimal("0.0091"), 1.2e14, 4),
    Sku("Kubernetes Engine", "Regional Kubernetes Clusters", HOURS, Decimal("0.1"), 3_600, 3),
    Sku("Kubernetes Engine", "Autopilot Pod mCPU Requests in Frankfurt", MILLI_HOURS, Decimal("0.0573"), 5.4e7, 3),
    Sku("Cloud Run", "CPU Allocation Time (tier 1)", SECONDS, Decimal("0.000024"), 5_300, 4),
    Sku("Cloud Run", "Requests", REQUESTS, Decimal("0.4"), 90_000, 3, quantity=1_000_000),
    Sku("Vertex AI", "Gemini Text Input - Predictions", COUNT, Decimal("0.0000003"), 2.3e6, 2),
    Sku("Vertex AI", "Gemini Text Output - Predictions", COUNT, Decimal("0.0000025"), 3.1e5, 2),
    Sku("Networking", "Network Inter Zone Data Transfer Out", GIB, Decimal("0.01"), 2.7e10, 3),
    Sku("Networking", "External IP Charge on a Standard VM", HOURS, Decimal("0.005"), 3_600, 2),
    Sku("Cloud Logging", "Log Storage cost", GIB, Decimal("0.5"), 6e8, 1),
)


@dataclass(frozen=True)
class Project:
    """One of the customer's projects; the empty one stands for charges that belong to none."""

    id: str | None
    number: str | None
    name: str | None
    labels: tuple[tuple[str, str], ...] = ()
    folder: str | None = None


ORGANIZATION = ("organizations/482910573316", "acme.example")
FOLDERS = {"production": "folders/771200348890", "research": "folders/640118273345"}

PROJECTS = (
    Project("acme-shop-prod", "314159265358", "Shop", (("team", "shop"), ("env", "prod")), "production"),
    Project("acme-shop-test", "271828182845", "Shop (test)", (("team", "shop"), ("env", "test")), "production"),
    Project("acme-data", "161803398874", "Data platform", (("team", "data"),), "production"),
    Project("acme-ml", "141421356237", "Machine learning", (("team", "ml"), ("cost-center", "7340")), "research"),
    Project("acme-sandbox-71", "173205080756", "Sandbox", (), None),
    Project(None, None, None),
)
PROJECT_WEIGHTS = (38, 14, 24, 17, 5, 2)

# (location, country, region, zone)
LOCATIONS: tuple[tuple[str | None, ...], ...] = (
    ("europe-west3", "DE", "europe-west3", "europe-west3-a"),
    ("europe-west3", "DE", "europe-west3", "europe-west3-b"),
    ("europe-west4", "NL", "europe-west4", None),
    ("europe-west1", "BE", "europe-west1", "europe-west1-c"),
    ("us-central1", "US", "us-central1", "us-central1-a"),
    ("eu", None, None, None),
    ("global", None, None, None),
    (None, None, None, None),
)

# One value for each key, several times over: what a resource carries.
LABELS = (
    ("app", "checkout"),
    ("component", "api"),
    ("owner", "ana.maría"),
    ("goog-k8s-cluster-name", "shop-1"),
    ("release", "2026-11"),
    ("batch", ""),
)
SYSTEM_LABELS = (
    ("compute.googleapis.com/machine_spec", "n2-standard-16"),
    ("compute.googleapis.com/cores", "16"),
    ("compute.googleapis.com/memory", "65536"),
)
# (key, value, inherited, namespace)
TAGS = (
    ("environment", "production", True, "482910573316"),
    ("data-class", "internal", False, "482910573316"),
)

# (name, full name, id, type, share of the cost that it takes off)
CREDITS = (
    ("Sustained use discount", "Sustained use discount", "sustained", "SUSTAINED_USAGE_DISCOUNT", 0.1999),
    ("Committed use discount: CPU", "Committed use discount: CPU", "cud-cpu", "COMMITTED_USAGE_DISCOUNT", 0.37),
    ("Spend-based discount", "Negotiated discount for 2026", "negotiated-26", "DISCOUNT", 0.055),
    ("Free Tier", "Monthly free tier", "free", "FREE_TIER", 1.0),
    ("Startup program", "Startup program, second year", "startup-2", "PROMOTION", 0.25),
)

# (id, description, mode, type)
ADJUSTMENTS = (
    ("adj-4711", "Correction of metering", "PARTIAL_CORRECTION", "USAGE_CORRECTION"),
    ("adj-4802", "Goodwill for an incident", "MANUAL_ADJUSTMENT", "GOODWILL"),
    ("adj-4831", "Repriced by contract", "COMPLETE_NEGATION_WITH_REMONETIZATION", "PRICE_CORRECTION"),
)
