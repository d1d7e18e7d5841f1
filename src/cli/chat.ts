import { createInterface, type Interface } from 'node:readline';
import { resolveModel } from '../checkpoint/model-source.ts';
import { ChatTemplateError } from '../errors.ts';
import { type ChatMessage, ChatTemplate } from '../text/chat-template.ts';
import { defineCommand } from './command.ts';
import { Conversation } from './conversation.ts';
import { Interrupt } from './interrupt.ts';
import { loadModel, type ModelValues, modelName, modelOptions } from './model-options.ts';
import { note } from './notes.ts';
import { text } from './option.ts';
import { ProgressDisplay } from './progress-display.ts';
import { readSampling, samplingOptions } from './sampling-options.ts';
import { print } from './standard-output.ts';
import { styled } from './styled.ts';

const HELP = '/reset forgets the conversation, /exit or Ctrl-D leaves, Ctrl-C stops an answer.';

/** `mamba2 chat` */
export const chat = defineCommand({
  name: 'chat',
  summary: 'Talk with a chat model',
  positionals: [],
  details: `${HELP}\nFrom a pipe, every line is a message, and the answers alone go to standard output.`,
  options: {
    system: text('text', 'System prompt'),
    ...samplingOptions,
    ...modelOptions,
  },
  examples: ["chat --model org/name --system 'Answer briefly.'", 'chat --model org/name < questions.txt'],
  run: async (values) => {
    const sampling = readSampling(values);
    const interrupt = new Interrupt();
    try {
      const folder = await findChatModel(values, interrupt.signal);
      await using llm = await loadModel(values, interrupt.signal, folder);
      const system: ChatMessage[] = values.system === undefined ? [] : [{ role: 'system', content: values.system }];
      const conversation = new Conversation(llm, system, sampling);
      note(HELP, values.quiet);
      // Not earlier: lines that come before somebody asks for them would be lost.
      await converse(conversation, openTerminal(), interrupt.signal);
      return 0;
    } finally {
      interrupt.close();
    }
  },
});

/** The folder of the model, once it is sure that it can chat: weights take long to load. */
async function findChatModel(values: ModelValues, signal: AbortSignal): Promise<string> {
  const name = modelName(values);
  const progress = new ProgressDisplay(values.quiet);
  try {
    const folder = await resolveModel(name, { revision: values.revision, signal, onProgress: progress.onProgress });
    if ((await ChatTemplate.fromFolder(folder)) !== undefined) return folder;
  } finally {
    progress.stop();
  }
  throw new ChatTemplateError(
    `'${name}' has no chat template, so it is not a chat model.`,
    "Give another one with --model, or let this one continue a text with 'mamba2 generate'.",
  );
}

function openTerminal(): Interface {
  const { stdin: input, stdout: output } = process;
  const terminal = input.isTTY && output.isTTY;
  return createInterface({
    input,
    output: terminal ? output : undefined,
    terminal,
    prompt: styled('bold', '> ', output),
  });
}

async function converse(conversation: Conversation, lines: Interface, interrupted: AbortSignal): Promise<void> {
  const ask = () => {
    if (lines.terminal) lines.prompt();
  };
  let answering: AbortController | undefined;
  // A terminal in raw mode sends Ctrl-C here and no SIGINT.
  lines.on('SIGINT', () => {
    if (answering) return answering.abort(STOPPED);
    lines.write(null, { ctrl: true, name: 'u' });
    ask();
  });
  interrupted.addEventListener('abort', () => lines.close(), { once: true });
  ask();
  for await (const line of lines) {
    const message = line.trim();
    if (message === '/exit') break;
    if (message === '/reset') conversation.reset();
    else if (message !== '') {
      answering = new AbortController();
      const signal = AbortSignal.any([answering.signal, interrupted]);
      try {
        await conversation.answer(message, signal, print);
      } catch (error) {
        if (error !== STOPPED) throw error;
      } finally {
        answering = undefined;
        await print('\n');
      }
    }
    ask();
  }
  // Ctrl-D leaves the cursor behind the prompt.
  if (lines.terminal) await print('\n');
  lines.close();
  interrupted.throwIfAborted();
}

const STOPPED = new Error('The answer was stopped.');
