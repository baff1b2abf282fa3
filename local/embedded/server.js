// Serves @firestore-emulator/server at the address given, host:port. Its own start() listens on every interface.
"use strict";

const { ServerCredentials } = require("@grpc/grpc-js");
const { FirestoreServer } = require("@firestore-emulator/server");

const address = process.argv[2];
const { server } = new FirestoreServer();
server.bindAsync(address, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
  console.log(`FIRESTORE_EMULATOR_HOST=${address}`);
});
