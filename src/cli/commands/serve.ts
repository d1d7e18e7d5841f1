import { once } from 'node:events';
import { createServer } from 'node:net';
import { pino } from 'pino';
import { ListenError } from '../../errors.ts';
import { type ServeOptions, serve as serveModel } from '../../server/node-server.ts';
import { MAX_DELAY } from '../../util/max-delay.ts';
import { defineCommand } from '../options/command.ts';
import { inJob } from '../options/in-job.ts';
import {
  findModel,
  loadWithProgress,
  type ModelValues,
  modelName,
  modelOptions,
  withModel,
} from '../options/model-options.ts';
import { appOptions, engineOptions, type ServeValues, serveOptions } from '../options/serve-options.ts';
import { openStates } from '../options/state-store-options.ts';
import { findTemplate } from '../options/template-option.ts';
import { UsageError } from '../options/usage-error.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { LogInWords } from '../terminal/log-in-words.ts';

/** `mamba2 serve` */
export const serve = defineCommand({
  details: [
    "The chat page is at /. OpenAI's API is at /v1/models, /v1/completions, /v1/chat/completions and /v1/responses,",
    "Anthropic's at /v1/messages, Ollama's below /api; besides, there are /tokenize, /detokenize, /health, /version and",
    '/metrics. /openapi.json describes them.',
    'The log goes to standard output and holds neither prompts nor answers.',
    'SIGTERM and Ctrl-C end the server in order: accepted requests are finished, new ones get 503.',
    'When the model fails and cannot be loaded again, it exits with a code other than 0.',
  ].join(' '),
  options: { ...serveOptions, ...modelOptions },
  examples: [
    'serve --port 8000',
    'serve org/name --dtype int8 --host 0.0.0.0 --api-key "$KEY"',
    "serve --model tiny-dts --cors 'https://example.org' --max-num-seqs 64",
  ],
  run: (given, [positional]) => inJob(withModel(given, positional), { lead: serveUntilEnd }),
});

async function serveUntilEnd(values: ServeValues & ModelValues): Promise<number> {
  const { shutdownTimeout = 30, logLevel = 'info', logFormat = process.stdout.isTTY ? 'text' : 'json' } = values;
  const options = appOptions(values, modelName(values));
  const engine = engineOptions(values);
  await listening(checkPort(options));
  const interrupt = new Interrupt(['SIGINT', 'SIGTERM']);
  const { signal } = interrupt;
  const death = new AbortController();
  try {
    const began = performance.now();
    const folder = await findModel(values, signal);
    const chatTemplate = values.chatTemplate && (await findTemplate(values.chatTemplate, folder));
    await using states = await openStates(values);
    const load = { ...engine, ...states.loadOptions, chatTemplate };
    await using llm = await loadWithProgress(values, signal, folder, load);
    const loadSeconds = (performance.now() - began) / 1000;
    const destination = logFormat === 'text' ? new LogInWords(process.stdout) : process.stdout;
    const logger = pino({ level: logLevel, base: null }, destination);
    llm.engine.onEvent((event) => {
      if (event.type === 'executorFailed') logger.error({ err: event.error }, 'the model failed');
      if (event.type === 'reloadFailed')
        logger.error({ err: event.error, retrySeconds: event.retrySeconds }, 'loading it again failed');
      if (event.type === 'died') death.abort(event.error);
      if (event.type === 'stateStoreFailed') {
        logger.warn({ err: event.error, retrySeconds: event.retrySeconds }, 'the store of states failed');
      }
      if (event.type === 'recovered') logger.warn({ seconds: event.seconds }, 'the model was loaded again');
    });
    const server = await listening(serveModel({ ...options, llm, logger }));
    const model = options.modelNames?.[0];
    const { device } = llm.device;
    const { dtype } = llm.dtype;
    const { url } = server;
    const { page } = options;
    const threads = llm.tensorParallelSize;
    logger.info({ url, page, model, device, dtype, threads, loadSeconds, pid: process.pid }, 'listening');
    const end = AbortSignal.any([signal, death.signal]);
    if (!end.aborted) await once(end, 'abort');
    await server.shutdown(timeout(shutdownTimeout));
    logger.info('shut down');
    // A supervisor sees the exit code and starts the server again.
    if (death.signal.aborted) throw death.signal.reason;
    return 0;
  } finally {
    interrupt.close();
  }
}

/** Signal after some seconds; undefined if they are more than a timer can wait. */
function timeout(seconds: number): AbortSignal | undefined {
  const milliseconds = seconds * 1000;
  return milliseconds > MAX_DELAY ? undefined : AbortSignal.timeout(milliseconds);
}

/** Opens the port for a moment: an error should come before a large model is loaded. */
async function checkPort({ port = 8000, host = '127.0.0.1' }: Pick<ServeOptions, 'host' | 'port'>): Promise<void> {
  const probe = createServer();
  probe.listen(port, host);
  await once(probe, 'listening');
  probe.close();
  await once(probe, 'close');
}

/** @throws UsageError when the server can't listen on host and port. */
async function listening<T>(listen: Promise<T>): Promise<T> {
  try {
    return await listen;
  } catch (error) {
    if (error instanceof ListenError) throw new UsageError(error.problem, GIVE_ANOTHER);
    // The probe's own: a port in use fails in 'listen', an unknown host in 'getaddrinfo'.
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw new UsageError(`The server can't listen: ${error.message}.`, GIVE_ANOTHER);
  }
}

const GIVE_ANOTHER = 'Give another --port or --host.';
