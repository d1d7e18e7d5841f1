// Serves OpenAI's API over HTTP until Ctrl-C: PORT=8000 API_KEY=secret node examples/server.js [model]
import process from 'node:process';
import { LLM } from 'mamba2';
import { serve } from 'mamba2/server';

const model = process.argv[2] ?? 'tiny-dts';
const { PORT = '8000', API_KEY } = process.env;

// On a thread of its own the model computes while this thread answers requests. After a failure it is loaded again.
const llm = await LLM.load(model, { ownThread: true, maxNumSeqs: 16, maxQueueSize: 64, recover: true });
const server = await serve({
  llm,
  modelNames: [model],
  port: Number(PORT),
  ...(API_KEY === undefined ? {} : { apiKeys: [API_KEY] }),
});
console.log(`${model} answers at ${server.url}/v1`);

/** Answers that were accepted are finished, for at most 30 seconds. */
async function shutdown() {
  await server.shutdown(AbortSignal.timeout(30_000));
  await llm.dispose();
}
process.once('SIGINT', shutdown);
process.once('SIGTERM', shutdown);
