import { JobEndedError, JobThread } from '../distributed/job-thread.ts';
import { moduleFile } from '../distributed/module-file.ts';
import { nodeWorkerOptions } from '../distributed/node-worker-options.ts';
import { missingScriptHint, nodeScript, type WorkerScript } from '../distributed/worker-scripts.ts';
import { TextLimitError } from '../errors.ts';
import { jsonSize, messageSize } from './chat/chat-message.ts';
import { type TextInput, type TextJob, type TextResult, type TextResults, TextWork } from './text-job.ts';
import type { TextParts, TextSource } from './text-source.ts';

/** Characters above which a text counts as long, and goes to the thread for long texts. */
const LONG_CHARACTERS = 8192;

/** Limit for the characters of all texts that wait for one thread. */
const MAX_WAITING = 2 ** 23;

/** Time without long texts after which their thread ends, to give its memory back. */
const IDLE_MILLISECONDS = 20_000;

/** Memory limit of a thread: several times what a tokenizer with the largest vocabulary needs. */
const MAX_HEAP_MIB = 1024;

/** Limits for long work with a text. */
export interface TextLimits {
  /** Time of a thread. Default: no limit. */
  readonly milliseconds?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Encodes and decodes texts on separate threads, so that nothing else waits for a long text, or for a chat template or
 * regular expression that does not terminate: such a thread is ended and started again, and only that text fails. One
 * thread is for short texts, one for long ones; each is started when it is needed. Without worker threads, as in
 * browsers, texts are encoded on the caller's thread.
 */
export class TextThreads {
  readonly #work: TextWork;
  readonly #short: JobThread<TextJob, TextResult> | undefined;
  readonly #long: JobThread<TextJob, TextResult> | undefined;

  /** @param script where the threads' script is, if it is not in its usual place. */
  constructor(parts: TextParts, source: () => TextSource, script?: WorkerScript) {
    this.#work = new TextWork(parts);
    const node = globalThis.process?.getBuiltinModule?.('node:worker_threads');
    if (!node) return;
    const startWorker = () => {
      return new node.Worker(
        nodeScript('text', script, () => moduleFile('./text-worker', import.meta.url)),
        {
          ...nodeWorkerOptions(),
          name: 'mamba2 text',
          workerData: source(),
          resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MIB },
        },
      );
    };
    const options = {
      name: 'The thread for texts',
      startWorker,
      runHere: (job: TextJob) => this.#work.run(job),
      runHereHint: `Texts are encoded on the main thread, which long ones hold. ${missingScriptHint('text')}`,
      maxWaitingWeight: MAX_WAITING,
    };
    this.#short = new JobThread(options);
    this.#long = new JobThread({ ...options, idleMilliseconds: IDLE_MILLISECONDS });
  }

  /** Starts the thread for short texts, so that the first text does not wait for it. */
  warmUp(): void {
    this.#short?.warmUp();
  }

  /**
   * Does a job on another thread. Rejects with the job's error, TextLimitError, QueueFullError, DisposedError, or
   * the signal's reason.
   */
  async run<T extends TextJob['type']>(
    job: Extract<TextJob, { type: T }>,
    limits?: TextLimits,
  ): Promise<TextResults[T]>;
  async run(job: TextJob, { milliseconds, signal }: TextLimits = {}): Promise<TextResult> {
    const characters = sizeOf(job);
    const thread = characters > LONG_CHARACTERS ? this.#long : this.#short;
    signal?.throwIfAborted();
    if (!thread) return this.#work.run(job);
    try {
      return await thread.run(job, { milliseconds, signal, weight: characters });
    } catch (error) {
      // Messages with values that can't be copied, such as functions.
      if (error instanceof Error && error.name === 'DataCloneError') return this.#work.run(job);
      throw error instanceof JobEndedError ? limitError(job, error) : error;
    }
  }

  /**
   * Like `run`, but on the calling thread if the text is short; for callers that trust the model's template and
   * expressions.
   */
  async runUnlessShort<T extends TextJob['type']>(
    job: Extract<TextJob, { type: T }>,
    limits: TextLimits = {},
  ): Promise<TextResults[T]> {
    return sizeOf(job) > LONG_CHARACTERS ? this.run(job, limits) : this.#work.run(job);
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#short?.dispose(), this.#long?.dispose()]);
  }
}

/** The size of a job's input in characters; a token counts as one. */
export function sizeOf(job: TextJob): number {
  return job.type === 'decode' ? job.ids.length : inputSize(job.input);
}

function inputSize(input: TextInput): number {
  if ('text' in input) return input.text.length;
  const { tools = [], documents = [] } = input.options;
  const around = jsonSize(tools) + jsonSize(documents);
  return input.messages.reduce((sum, message) => sum + MESSAGE_CHARACTERS + messageSize(message), around);
}

/** Characters that a message counts besides its text. */
const MESSAGE_CHARACTERS = 32;

function limitError(job: TextJob, error: JobEndedError): TextLimitError {
  const what =
    job.type === 'decode'
      ? `Decoding ${job.ids.length} tokens`
      : 'text' in job.input
        ? `Encoding a text of ${job.input.text.length} characters`
        : `Writing ${job.input.messages.length} messages with the chat template, and encoding them,`;
  const problem = { time: 'took too long', memory: 'took too much memory', failure: 'failed' }[error.why];
  const hint =
    'Shorten it; if it is short, the chat template or a regular expression of the tokenizer runs without end.';
  return new TextLimitError(`${what} ${problem}: ${error.message}.`, hint, { cause: error });
}
