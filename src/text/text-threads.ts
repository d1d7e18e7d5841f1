import { JobEndedError, JobThread } from '../distributed/job-thread.ts';
import { moduleFile } from '../distributed/module-file.ts';
import { nodeWorkerOptions } from '../distributed/node-worker-options.ts';
import { missingScriptHint, nodeScript, type WorkerScript } from '../distributed/worker-scripts.ts';
import { TextLimitError } from '../errors.ts';
import { textOf } from './chat/chat-message.ts';
import { type TextInput, type TextJob, type TextResult, type TextResults, TextWork } from './text-job.ts';
import type { TextParts, TextSource } from './text-source.ts';

/** Above this a text is long: then it has a thread that short ones do not wait for. */
const LONG_CHARACTERS = 8192;

/** Characters of the texts that wait for one thread, together. */
const MAX_WAITING = 2 ** 23;

/** Once long texts have not come for so long, their thread gives its memory back. */
const IDLE_MILLISECONDS = 20_000;

/** For a tokenizer of the largest vocabularies several times over. */
const MAX_HEAP_MIB = 1024;

/** What long work with a text may take. */
export interface TextLimits {
  /** Time of a thread. Default: no limit. */
  readonly milliseconds?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Encodes and decodes texts on threads of their own, so that nothing else waits for a long text, or for a chat template or
 * regular expression that does not come to an end: such a thread is ended and started again, and that text alone fails. One
 * thread is for short texts, one for long ones; each is started when it is needed. Where there are no worker threads, as in
 * browsers, texts are encoded on the caller's thread.
 */
export class TextThreads {
  readonly #work: TextWork;
  readonly #short: JobThread<TextJob, TextResult> | undefined;
  readonly #long: JobThread<TextJob, TextResult> | undefined;

  /** @param script where the threads' script is, if it is not where it should be. */
  constructor(parts: TextParts, source: TextSource, script?: WorkerScript) {
    this.#work = new TextWork(parts);
    const node = globalThis.process?.getBuiltinModule?.('node:worker_threads');
    if (!node) return;
    const startWorker = () => {
      return new node.Worker(
        nodeScript('text', script, () => moduleFile('./text-worker', import.meta.url)),
        {
          ...nodeWorkerOptions(),
          name: 'mamba2 text',
          workerData: source,
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

  /** Starts the thread for short texts, so that the first one need not wait for that. */
  warmUp(): void {
    this.#short?.warmUp();
  }

  /**
   * Does a job on a thread of its own. Rejects with what the job throws, TextLimitError, QueueFullError, DisposedError, or
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
      // Messages with what can't be copied, such as functions.
      if (error instanceof Error && error.name === 'DataCloneError') return this.#work.run(job);
      throw error instanceof JobEndedError ? limitError(job, error) : error;
    }
  }

  /** The same, but at once where the text is short and the caller trusts the model's template and expressions. */
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

/** Of what a job works with, in characters; a token counts as one. */
export function sizeOf(job: TextJob): number {
  return job.type === 'decode' ? job.ids.length : inputSize(job.input);
}

function inputSize(input: TextInput): number {
  if ('text' in input) return input.text.length;
  return input.messages.reduce((sum, { content }) => sum + MESSAGE_CHARACTERS + (textOf(content)?.length ?? 0), 0);
}

/** What a message costs besides its text, in characters. */
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
