/** Ordinary use of a node through testcontainers. */
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { assert, runCases } from './cases.mjs';

process.env.TESTCONTAINERS_RYUK_DISABLED = 'true';
// Where the tests themselves run in a container, it would look for the ports at a gateway of Docker's.
process.env.TESTCONTAINERS_HOST_OVERRIDE = '127.0.0.1';
const { GenericContainer, Network, Wait } = createRequire(`${process.env.CLIENT_MODULES}/`)('testcontainers');
const image = process.env.TEST_IMAGE;

await runCases({
  async 'starts, executes and copies'() {
    const container = await new GenericContainer(image)
      .withCommand(['sh', '-c', 'echo ready; sleep 300'])
      .withWaitStrategy(Wait.forLogMessage('ready'))
      .withEnvironment({ A: 'b' })
      .withCopyContentToContainer([{ content: 'hello', target: '/tmp/hello' }])
      .start();
    try {
      const result = await container.exec(['cat', '/tmp/hello']);
      assert(result.exitCode === 0 && result.output === 'hello', result);
      assert((await container.exec(['sh', '-c', 'echo $A'])).output.trim() === 'b');
    } finally {
      await container.stop();
    }
  },
  async 'publishes a port and waits for it'() {
    const container = await new GenericContainer(image)
      .withCommand(['sh', '-c', 'while true; do echo pong | nc -l -p 8080; done'])
      .withExposedPorts(8080)
      .withWaitStrategy(Wait.forListeningPorts())
      .start();
    try {
      const link = connect(container.getMappedPort(8080), container.getHost());
      assert((await text(link)) === 'pong\n');
    } finally {
      await container.stop();
    }
  },
  async 'joins two by a network and an alias'() {
    const network = await new Network().start();
    const server = await new GenericContainer(image)
      .withCommand(['sleep', '300'])
      .withNetwork(network)
      .withNetworkAliases('server')
      .start();
    const client = await new GenericContainer(image).withCommand(['sleep', '300']).withNetwork(network).start();
    try {
      assert((await client.exec(['ping', '-c', '1', '-W', '2', 'server'])).exitCode === 0);
    } finally {
      await client.stop();
      await server.stop();
      await network.stop();
    }
  },
});
