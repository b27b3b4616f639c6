-- Tests set `new`.
return {}
