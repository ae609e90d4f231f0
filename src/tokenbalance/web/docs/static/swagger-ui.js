// Starts Swagger UI on the page of /docs. A file of its own, so that the page needs no inline
// script. Keys that are typed in are forgotten when the page closes.
const target = document.getElementById("swagger-ui");

SwaggerUIBundle({
  domNode: target,
  url: target.dataset.schema,
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  tryItOutEnabled: false,
  validatorUrl: null, // the default asks a foreign host
});
