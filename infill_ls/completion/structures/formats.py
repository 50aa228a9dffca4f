"""The formats of JSON Schema that a string can be brought into: what `jsonschema` does not look at
without further libraries, and strictly enough for those that do."""

_DATE = r"[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"
_ANY_DATE = r"[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_ZONE = r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,4}}"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_PATH = r"(/[A-Za-z0-9._~-]+){0,8}/?"

# What a string is brought into.
FORMATS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}Z$",
    "date-time": f"^{_DATE}T{_TIME}Z$",
    "duration": r"^P([1-9]\d?D|T[1-9]\d?H|T[1-9]\d?M)$",
    "email": rf"^[a-z0-9]+([._+-][a-z0-9]+){{0,3}}@{_LABEL}\.[a-z]{{2,10}}$",
    "hostname": f"^{_HOST}$",
    "ipv4": rf"^{_BYTE}(\.{_BYTE}){{3}}$",
    "ipv6": r"^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$",
    "uri": rf"^https?://{_HOST}(:[1-9]\d{{1,3}})?{_PATH}$",
    "uuid": r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    "json-pointer": r"^(/[A-Za-z0-9._-]+){0,8}$",
    "regex": r"^[a-z0-9]*$",
}
FORMATS |= {
    "idn-email": FORMATS["email"],
    "idn-hostname": FORMATS["hostname"],
    "iri": FORMATS["uri"],
    "uri-reference": FORMATS["uri"],
    "iri-reference": FORMATS["uri"],
}
# What else is right as it is, where that is more.
RIGHT = {
    "date": f"^{_ANY_DATE}$",
    "time": rf"^{_TIME}(\.\d+)?{_ZONE}$",
    "date-time": rf"^{_ANY_DATE}T{_TIME}(\.\d+)?{_ZONE}$",
    "ipv6": r"^[0-9a-f:.]+$",
    "uri": r"^[a-z][a-z0-9+.-]*:[\w/?#\[\]@!$&'()*+,;=.~:%-]+$",
    "uuid": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "uri-reference": r"^[\w/?#\[\]@!$&'()*+,;=.~:%-]*$",
    "regex": "",
}
