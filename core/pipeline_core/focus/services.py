"""Which of FOCUS's service categories each service of Google Cloud belongs to; those not listed are `Other`.

By the names in `service.description` of the billing export. A name has one category, as FOCUS demands; the categories
are of its closed list.
"""

from typing import Final

AI: Final = "AI and Machine Learning"
OTHER: Final = "Other"

GOOGLE_CLOUD: Final = {
    AI: (
        "Cloud AutoML", "Cloud Document AI API", "Cloud Natural Language API", "Cloud Speech API",
        "Cloud Text-to-Speech API", "Cloud Translation API", "Cloud Video Intelligence API", "Cloud Vision API",
        "Dialogflow API", "Discovery Engine API", "Gemini API", "Gemini for Google Cloud API",
        "Generative Language API", "Recommendations AI", "Vertex AI",
    ),
    "Analytics": (
        "Analytics Hub", "BigQuery", "BigQuery BI Engine", "BigQuery Data Transfer Service",
        "BigQuery Reservation API", "BigQuery Storage API", "Cloud Composer", "Cloud Data Fusion", "Cloud Dataflow",
        "Cloud Dataproc", "Data Catalog", "Dataplex", "Datastream", "Looker", "Looker Studio",
    ),
    "Compute": (
        "App Engine", "Bare Metal Solution", "Batch API", "Cloud Functions", "Cloud Run", "Cloud Run Functions",
        "Cloud TPU", "Compute Engine", "Google Cloud VMware Engine", "Kubernetes Engine", "VMware Engine",
    ),
    "Databases": (
        "AlloyDB", "Cloud Bigtable", "Cloud Datastore", "Cloud Firestore", "Cloud Memorystore for Memcached",
        "Cloud Memorystore for Redis", "Cloud SQL", "Cloud Spanner", "Firebase Realtime Database",
        "Memorystore for Valkey",
    ),
    "Developer Tools": (
        "Artifact Registry", "Cloud Build", "Cloud Deploy", "Cloud Source Repositories", "Cloud Workstations",
        "Container Registry", "Container Registry Vulnerability Scanning", "Firebase Test Lab",
    ),
    "Identity": (
        "Cloud Identity", "Cloud Identity-Aware Proxy", "Firebase Auth", "Identity Platform",
        "Managed Service for Microsoft Active Directory",
    ),
    "Integration": (
        "API Gateway", "Apigee", "Application Integration", "Cloud Pub/Sub", "Cloud Scheduler", "Cloud Tasks",
        "Eventarc", "Integration Connectors", "Workflows",
    ),
    "Management and Governance": (
        "Backup and DR Service", "Backup for GKE", "Cloud Asset Inventory", "Cloud Logging", "Cloud Monitoring",
        "Cloud Support", "Cloud Trace", "Stackdriver Logging", "Stackdriver Monitoring", "Support",
    ),
    "Media": (
        "Live Stream API", "Transcoder API", "Video Stitcher API",
    ),
    "Migration": (
        "Database Migration Service", "Migrate to Virtual Machines", "Storage Transfer Service",
        "Transfer Appliance",
    ),
    "Mobile": (
        "Firebase", "Firebase App Hosting", "Firebase Cloud Messaging",
    ),
    "Networking": (
        "Cloud CDN", "Cloud DNS", "Cloud Domains", "Cloud Interconnect", "Cloud Load Balancing", "Cloud NAT",
        "Cloud VPN", "Media CDN", "Network Intelligence Center", "Networking", "Service Directory",
    ),
    "Security": (
        "Binary Authorization", "Certificate Authority Service", "Cloud Armor", "Cloud Data Loss Prevention",
        "Cloud Key Management Service (KMS)", "Google Security Operations", "Secret Manager",
        "Security Command Center", "Web Risk API", "reCAPTCHA Enterprise",
    ),
    "Storage": (
        "Cloud Filestore", "Cloud Storage", "Cloud Storage for Firebase", "Filestore",
        "Google Cloud NetApp Volumes", "NetApp Volumes",
    ),
    "Web": (
        "Firebase Hosting", "Geocoding API", "Maps API", "Places API", "Routes API",
    ),
}  # fmt: skip
"""Services by category."""
