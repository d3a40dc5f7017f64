// Runs at every "npm install". This syntax is old on purpose: an old Node must be able to read it.
// The `node` of a script may be the package "node"; npm itself says which one it runs on.
var agent = process.env.npm_config_user_agent || '';
var found = /\bnode\/v((\d+)\S*)/.exec(agent);
if (found && Number(found[2]) < 20) {
  console.error(
    '\nnpm runs on Node ' +
      found[1] +
      '. FusionCommerce needs Node 20 or newer to install.\n' +
      'Install Node 24 from https://nodejs.org, then run npm install again.\n',
  );
  process.exit(1);
}
