// Swagger UI, on openapi.yaml. "Try it out" asks the deployment that serves this page.

/* global SwaggerUIBundle */

const onThisDeployment = (update) => (document) =>
  update({ ...document, servers: [{ url: location.origin, description: "This deployment." }] });

SwaggerUIBundle({
  url: "openapi.yaml",
  dom_id: "#reference",
  layout: "BaseLayout",
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [() => ({ statePlugins: { spec: { wrapActions: { updateJsonSpec: onThisDeployment } } } })],
  validatorUrl: null,
  persistAuthorization: false,
  deepLinking: false,
});
