"use strict";

// The browser that was let in here sends the same credentials along with every request.
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  tryItOutEnabled: false,
  validatorUrl: null,
});
