"""Keys and values of tags. Pure."""


def split(tag: str) -> tuple[str, str]:
    """Key and value. Older tags have a dot between them, or no value."""
    for separator in ("=", "."):
        key, separator_found, value = tag.partition(separator)
        if separator_found:
            return key, value
    return tag, ""
