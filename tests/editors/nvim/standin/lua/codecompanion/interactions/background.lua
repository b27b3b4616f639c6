-- The specs set `new`.
return {}
