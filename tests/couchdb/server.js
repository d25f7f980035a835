// A CouchDB-protocol server for the tests: node server.js DATADIR PORT (0 chooses a free one).
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const [datadir, port] = process.argv.slice(2);
fs.mkdirSync(datadir, { recursive: true });
process.chdir(datadir); // config.json and log.txt are made in the working directory
fs.writeFileSync('config.json', JSON.stringify({ log: { level: 'none' } }));

const PouchDB = require('pouchdb').defaults({ prefix: path.resolve('.') + path.sep });
const app = require('express')();
app.use('/:database', (request, response, next) => {
  // A database is registered on disk after its making was answered; CouchDB does it before.
  const end = response.end;
  if (request.path === '/' && ['PUT', 'DELETE'].includes(request.method)) {
    response.end = (...args) => PouchDB.allDbs().finally(() => end.apply(response, args));
  }
  next();
});
app.use('/', require('express-pouchdb')(PouchDB));

const server = app.listen(Number(port), '127.0.0.1', () => {
  process.stdout.write(`listening on ${server.address().port}\n`);
});
server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
process.on('unhandledRejection', (error) => console.error('unhandled rejection:', error));
process.on('SIGTERM', () => process.exit(0)); // what was answered is in leveldb already
