"""`make schema`: print the JSON schema."""

import json

from synthgap.config import json_schema

print(json.dumps(json_schema(), indent=1))
