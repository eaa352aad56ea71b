"""`macaw verifier` and `macaw verify`: verifiers of a tenant, inside and outside, and texts that are tried by hand."""

from macaw.cli.verifiers import catalogues, choosing
from macaw.cli.verifiers.outside import app

app.command("settings")(choosing.settings)
app.command("on")(choosing.turn_on)
app.command("off")(choosing.turn_off)
app.command("set")(choosing.set_some)
app.command("import")(catalogues.import_file)
app.command("catalogues")(catalogues.catalogues)
app.command("withdraw")(catalogues.withdraw)
