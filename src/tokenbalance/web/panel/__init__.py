"""The pages that people use: sign-in, a user's own page, and the superusers' panel.

Rendered on the server, each page whole; scripts only enhance (htmx replaces a list in place, uPlot
draws what a table says as well). Must never know the API, nor hold a rule about money or roles:
those are `ledger`, `accounts` and `access`.

    mount      the routes, in one list; assets at /panel/assets
    page       a page: the questions that every request is asked, in order
    visit      who looks at a page, and what they sent: what every handler gets
    cookies    session, notice, the form's and a key's secret: how each is named and set
    guards     whether a POST comes from a form of ours
    forms      fields: read, checked, shown again with what is wrong with them
    rendering  a template as a page, with the headers that every page has
    notices    what is said once, on the page after a form
    links      addresses: of this server, and where somebody is led next
    charts     numbers by day as a chart
    failures   errors as pages
    download   a file that is written while it is sent
    key_form   the fields that make a key
    key_secret its secret, from that form to the page that shows it once
    account    one's own page; admin: the superusers'
    templates  layout.html is every page's frame; pieces/*.html are macros

A page is a handler, and a line in its part's table of routes:

    async def show(visit: Visit) -> Response:
        async with visit.management.sessions() as session:
            keys = await newest_keys(session, visit.caller.account_id, 50)
        return render(visit, "account/keys.html", keys=keys, form=Form())

    async def revoke(visit: Visit) -> Response:
        async with visit.management.sessions.begin() as session:
            await revoke_key(session, visit.number("key_id"), visit.caller.account_id)
        return go_to("/account/keys", visit, Notice.KEY_REVOKED)

    ROUTES = (
        Route("/account/keys", Page(get=show)),
        Route("/account/keys/{key_id}/revoke", Page(post=revoke)),
    )

`Page(audience=Audience.SUPERUSERS)` asks `access` before its handler runs; the default is whoever
is signed in. Before a POST's handler runs, its origin and its token have been checked, and
`visit.form` holds its fields. A handler raises `NotFound`, `NotAllowed`, or what the database
raises, and the visitor gets a page that says so.

A form: `<form method="post">{{ visit.token_field }} ... </form>`, and in the handler

    name = visit.form.text("name")
    amount = visit.form.integer("amount", minimum=1)          # None, and an error, when it is not
    if visit.form.errors:
        return render(visit, "...", status=400, form=visit.form)

`visit.form.refuse(field, message)` adds what a lower module has found wrong. In templates:

    {% extends "account/frame.html" %}  blocks: title, main; a part's own frame.html adds its tabs
    pieces/forms.html   field(form, name, label, type=, hint=, ...), box(form, name, label),
                        choice(form, name, label, options), errors_above(form),
                        ask(label, question, action, token_field, button): asks first
    pieces/lists.html   {% call scroll(label) %}<table>..{% endcall %}, nothing(text),
                        pager(first, next), addresses or none,
                        badge(text, mood), {% call figure(label, value) %}below{% endcall %}
    pieces/charts.html  chart(chart): a `charts.Chart`, drawn, and as a table;
                        chart_scripts(asset) belongs into the block `head`
    pieces/keys.html    key_fields(form, today) with `key_form`, key_state, key_choices
    pieces/secret.html  secret_card(secret, base_url): a key's secret, once, with snippets;
                        secret_gone(key, ended, keys, token_field): what is left to be said
    pieces/requests.html, pieces/explanation.html   a request in a list; one charge in words
    filters             amounts `|number`, `|signed`, `|decimal` (text), days `|day`,
                        times `|time` and `|minute`, whatever people have typed `|name`
    functions           address(path, key=value, ...): a link with a query, without empty values
"""
