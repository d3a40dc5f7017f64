// Runs at every "npm install". It uses old syntax, so that an old Node can run it too.
// Scripts may run with the Node of the package "node", so it reads npm's own Node version from npm's user agent.
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
