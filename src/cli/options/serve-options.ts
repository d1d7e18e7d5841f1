import type { LoadOptions } from '../../engine/load/load-options.ts';
import { ArgumentError } from '../../errors.ts';
import { checkAppOptions } from '../../server/app-options.ts';
import type { ServeOptions } from '../../server/node-server.ts';
import { SCHEDULING_POLICIES } from '../../server/request/limits.ts';
import { REASONING_PARSERS, TOOL_CALL_PARSERS } from '../../text/parsers/choose-parsers.ts';
import { assertCount, contextLimits, contextOptions } from './model-options.ts';
import { choice, flag, number, text, texts, type Values } from './option.ts';
import { stateStoreOptions } from './state-store-options.ts';
import { chatTemplateOption } from './template-option.ts';
import { UsageError } from './usage-error.ts';

const LOG_FORMATS = ['text', 'json'] as const;
const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const;
const MIB = 2 ** 20;

/** Address, access and limits of a server. Names are vLLM's where it has the option. */
export const serveOptions = {
  host: text('address', 'Address to listen on (default: 127.0.0.1, which only this machine reaches)'),
  port: number('Port to listen on; 0 takes a free one (default: 8000)'),
  apiKey: texts('key', 'Key that requests must send; also read from MAMBA2_API_KEY'),
  sharePrefixCache: flag('Share the prefix cache among API keys; timing then shows one key what others have sent'),
  cors: texts('origin', "Origin whose pages may use the server, or '*'"),
  servedModelName: texts('name', 'What clients call the model (default: its name here)'),
  chatTemplate: chatTemplateOption,
  trustRequestChatTemplate: flag('Let requests bring a chat template of their own (chat_template)'),
  toolCallParser: choice(TOOL_CALL_PARSERS, 'How the model writes tool calls (default: auto, by its chat template)'),
  reasoningParser: choice(
    REASONING_PARSERS,
    'How the model writes thoughts; none leaves them in the text (default: auto, by its chat template)',
  ),
  ...contextOptions,
  maxModelLen: number('Tokens of a prompt and its answer together (default: 16384)'),
  maxNumSeqs: number('Answers that run at the same time; further ones wait (default: 32)'),
  maxNumBatchedTokens: number('Tokens processed in one step (default: 512, or 2048 on NVIDIA GPUs of 40 GB)'),
  maxQueueSize: number('Requests that may wait; further ones get 429 (default: 256)'),
  schedulingPolicy: choice(
    SCHEDULING_POLICIES,
    'Order of requests: fcfs, first come, first served; priority, by the field of that name (default: fcfs)',
  ),
  maxAnswers: number('Answers of one request: prompts times n (default: 128)'),
  maxAnswerSize: number(
    'Memory for prompts, answers and logprobs of one request, in MiB; larger requests get 400 (default: 128)',
  ),
  maxPendingSize: number('Memory for those of all requests together, in MiB; further requests get 429 (default: 512)'),
  maxBodySize: number('Largest body of a request, in MiB (default: 4)'),
  prefixCacheSize: number('Memory for the states of earlier prompts, in MiB; 0 turns it off (default: 512)'),
  ...stateStoreOptions,
  snapshotInterval: number('Tokens between two kept states of one text (default: 256)'),
  noRecover: flag('Exit when a rank fails, instead of loading the model again'),
  shutdownTimeout: number('Seconds that unfinished answers get after SIGTERM or Ctrl-C (default: 30)'),
  noPage: flag('Do not serve the chat page at /'),
  metricsPrefix: text(
    'prefix',
    "What names of metrics begin with; 'vllm' for routers that know only its (default: mamba2)",
  ),
  logLevel: choice(LOG_LEVELS, 'Least level that is logged to standard output (default: info)'),
  logFormat: choice(LOG_FORMATS, 'Format of the log (default: text on a terminal, else json, one object a line)'),
};

export type ServeValues = Values<typeof serveOptions>;

/** Options of the engine. @throws UsageError */
export function engineOptions(values: ServeValues): LoadOptions {
  const { maxNumBatchedTokens, snapshotInterval, prefixCacheSize } = values;
  const { maxNumSeqs = 32, maxQueueSize = 256 } = values;
  for (const [name, value] of Object.entries({ maxNumSeqs, maxNumBatchedTokens, snapshotInterval })) {
    assertCount(name, value, 1);
  }
  assertCount('maxQueueSize', maxQueueSize, 1);
  assertCount('prefixCacheSize', prefixCacheSize, 0);
  return {
    ...contextLimits(values),
    maxNumSeqs,
    maxNumBatchedTokens,
    maxQueueSize,
    snapshotInterval,
    enablePrefixCaching: prefixCacheSize !== 0,
    prefixCacheBytes: prefixCacheSize === undefined ? undefined : prefixCacheSize * MIB,
    recover: !values.noRecover,
    ownThread: true,
  };
}

/** Options of the server besides its model. @throws UsageError */
export function appOptions(values: ServeValues, modelName: string): Omit<ServeOptions, 'llm' | 'logger'> {
  const { host, port, apiKey, cors, servedModelName, maxModelLen, maxAnswers, maxBodySize } = values;
  const { maxAnswerSize, maxPendingSize } = values;
  for (const [name, value] of Object.entries({ maxModelLen, maxAnswers, maxBodySize, maxAnswerSize, maxPendingSize })) {
    assertCount(name, value, 1);
  }
  assertCount('port', port, 0, 65535);
  assertCount('shutdownTimeout', values.shutdownTimeout, 0);
  const fromEnvironment = process.env.MAMBA2_API_KEY;
  // A key that is set means a closed server: a variable that came out empty must not open it.
  if (fromEnvironment?.trim() === '') throw new UsageError('MAMBA2_API_KEY is empty.', 'Unset it to need no key.');
  const apiKeys = [...apiKey, ...(fromEnvironment === undefined ? [] : [fromEnvironment])];
  if (apiKeys.some((key) => key.trim() === ''))
    throw new UsageError('--api-key is empty.', 'Leave it out to need none.');
  if (host?.trim() === '') throw new UsageError('--host is empty.', "Say '0.0.0.0' for every interface.");
  const options = {
    host,
    port,
    apiKeys,
    sharePrefixCache: values.sharePrefixCache,
    corsOrigins: cors,
    modelNames: servedModelName.length > 0 ? servedModelName : [modelName],
    page: !values.noPage,
    trustRequestChatTemplate: values.trustRequestChatTemplate,
    metricsPrefix: values.metricsPrefix,
    parsers: { toolCallParser: values.toolCallParser, reasoningParser: values.reasoningParser },
    schedulingPolicy: values.schedulingPolicy,
    limits: {
      maxModelLen,
      maxAnswers,
      maxBodyBytes: bytes(maxBodySize),
      maxAnswerBytes: bytes(maxAnswerSize),
      maxPendingBytes: bytes(maxPendingSize),
    },
  };
  try {
    checkAppOptions(options);
  } catch (error) {
    throw error instanceof ArgumentError ? new UsageError(error.message) : error;
  }
  return options;
}

function bytes(mebibytes: number | undefined): number | undefined {
  return mebibytes === undefined ? undefined : mebibytes * MIB;
}
