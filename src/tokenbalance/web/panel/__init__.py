"""The web panel: sign-in, the pages of a user's own account, and the superusers' pages.

Pages are rendered on the server, completely; scripts only enhance them (htmx replaces a list in
place, uPlot draws numbers that are also in a table). Must never know the API, build SQL, or contain
a rule about money or roles: those are in `books` and `people`, whose functions return frozen rows.

    mount      the routes, in one list; assets at /panel/assets
    page       a page: the checks that every request passes, in order
    visit      the visitor and what they sent: the argument of every handler
    cookies    session, notice, form secret, new key: how each is named and set
    guards     whether a POST comes from one of our forms
    forms      fields: read, checked, shown again with their errors
    rendering  a template as a page, with the headers of every page
    notices    messages shown once, on the page after a form
    links      addresses: of this server, and where a visitor goes next
    listing    what lists have in common
    charts     numbers by day as a chart
    failures   errors as pages
    download   a file that is generated while it is sent
    key_form   the fields that create a key
    key_secret its secret, from that form to the page that shows it once
    account    the pages of one's own account
    admin      the superusers' pages
    templates  layout.html is the frame of every page; pieces/*.html are macros

A page is a handler and a route:

    async def show(visit: Visit) -> Response:
        async with visit.management.sessions() as session:
            keys = await newest_keys(session, visit.caller.account_id, 50)
        return render(visit, "account/keys.html", keys=keys, form=Form())

    async def revoke(visit: Visit) -> Response:
        async with visit.management.sessions.begin() as session:
            account_id = visit.caller.account_id
            await revoke_key(session, visit.number("key_id"), account_id, actor=visit.actor)
        return go_to("/account/keys", visit, Notice.KEY_REVOKED)

    ROUTES = (
        Route("/account/keys", Page(get=show)),
        Route("/account/keys/{key_id}/revoke", Page(post=revoke)),
    )

`Page(audience=Audience.SUPERUSERS)` asks `people.access` before its handler runs; the default is
every signed-in user. Before the handler of a POST runs, origin and token have been checked, and
`visit.form` has the fields. If a handler raises `NotFound`, `NotAllowed`, or an error of the
database, the visitor gets a page about it.

A form: `<form method="post">{{ visit.token_field }} ... </form>`, and in the handler

    name = visit.form.text("name")
    amount = visit.form.integer("amount", minimum=1)          # None, and an error, when it is not
    if visit.form.errors:
        return render(visit, "...", status=400, form=visit.form)

`visit.form.refuse(field, message)` adds the error of another module. In templates:

    {% extends "account/frame.html" %}  blocks: title, main; a part's own frame.html adds its tabs
    pieces/forms.html   field(form, name, label, type=, hint=, ...), box(form, name, label),
                        choice(form, name, label, options), errors_above(form),
                        ask(label, question, action, token_field, button): asks to confirm
    pieces/lists.html   {% call scroll(label) %}<table>..{% endcall %}, nothing(text),
                        pager(first, next): addresses or none,
                        badge(text, mood), {% call figure(label, value) %}below{% endcall %}
    pieces/charts.html  chart(chart): a `charts.Chart`, drawn, and as a table;
                        chart_scripts(asset) goes into the block `head`
    pieces/keys.html    key_fields(form, today) with `key_form`, key_state, key_choices
    pieces/secret.html  secret_card(secret, base_url): a key's secret, once, with snippets;
                        secret_gone(key, ended, keys, token_field): it was shown before
    pieces/requests.html, pieces/explanation.html   a request in a list; one charge in words
    filters             amounts `|number`, `|signed`, `|exact` (text), days `|day`,
                        times `|time` and `|minute`, text that people typed `|name`
    functions           address(path, key=value, ...): a link with a query, without empty values
    constants           lengths.name, .note ...: lengths of fields
"""
