import { createInterface, type Interface } from 'node:readline';
import { ChatTemplateError } from '../../errors.ts';
import { type ChatMessage, ChatTemplate, type TemplateKind } from '../../text/chat/chat-template.ts';
import { defineCommand } from '../options/command.ts';
import {
  contextOptions,
  findModel,
  loadWithProgress,
  type ModelValues,
  modelName,
  modelOptions,
  withModel,
} from '../options/model-options.ts';
import { text } from '../options/option.ts';
import { readSampling, samplingOptions } from '../options/sampling-options.ts';
import { openStates, stateStoreOptions } from '../options/state-store-options.ts';
import { chatTemplateOption, findTemplate } from '../options/template-option.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { note } from '../terminal/notes.ts';
import { print } from '../terminal/standard-output.ts';
import { styled } from '../terminal/styled.ts';
import { Conversation } from './conversation.ts';

const COMMANDS = {
  help: 'shows this',
  reset: 'forgets the conversation',
  exit: 'leaves; so do Ctrl-D, and Ctrl-C twice. During an answer Ctrl-C stops it',
} as const;

const HELP = Object.entries(COMMANDS)
  .map(([name, what]) => `/${name} ${what}.`)
  .join(' ');

const OTHER_NAMES: Readonly<Record<string, keyof typeof COMMANDS>> = {
  '?': 'help',
  clear: 'reset',
  new: 'reset',
  quit: 'exit',
  bye: 'exit',
};

/** `mamba2 chat` */
export const chat = defineCommand({
  details: [
    HELP,
    'From a pipe, every line is a message, and the answers alone go to standard output; a terminal shows thoughts, too.',
    'A model that was not trained on conversations needs --chat-template completion, by which it continues what you',
    "write; the bundled model brings such a template. 'mamba2 --help' lists models by size.",
  ].join(' '),
  options: {
    system: text('text', 'System prompt'),
    chatTemplate: chatTemplateOption,
    ...samplingOptions,
    ...modelOptions,
    ...contextOptions,
    ...stateStoreOptions,
  },
  examples: [
    "chat org/name --system 'Answer briefly.'",
    'chat ./folder --chat-template completion',
    'chat org/name < questions.txt',
  ],
  run: async (given, [positional]) => {
    const values = withModel(given, positional);
    const sampling = readSampling(values);
    const interrupt = new Interrupt();
    try {
      const { folder, chatTemplate, kind } = await findChatModel(values, values.chatTemplate, interrupt.signal);
      await using states = await openStates(values);
      const load = { maxNumSeqs: 1, chatTemplate, ...states.loadOptions };
      await using llm = await loadWithProgress(values, interrupt.signal, folder, load);
      const system: ChatMessage[] = values.system === undefined ? [] : [{ role: 'system', content: values.system }];
      const conversation = new Conversation(llm, system, sampling);
      if (kind === 'completion') {
        note(`${modelName(values)} was not trained on conversations: it continues what you begin.`, values.quiet);
      }
      note(HELP, values.quiet);
      // Not earlier: lines that come before anything asks for them would be lost.
      await converse(conversation, openTerminal(), interrupt.signal);
      await states.flush(llm);
      return 0;
    } finally {
      interrupt.close();
    }
  },
});

interface ChatModel {
  readonly folder: string;
  /** Template in place of the model's own. */
  readonly chatTemplate: string | undefined;
  readonly kind: TemplateKind;
}

/** The model's folder and template, once it is sure that it can chat: weights take long to load. */
async function findChatModel(values: ModelValues, given: string | undefined, signal: AbortSignal): Promise<ChatModel> {
  const name = modelName(values);
  const folder = await findModel(values, signal);
  const chatTemplate = given === undefined ? undefined : await findTemplate(given, folder);
  const template = chatTemplate === undefined ? await ChatTemplate.fromFolder(folder) : new ChatTemplate(chatTemplate);
  if (template?.problem) throw template.problem;
  if (template !== undefined) return { folder, chatTemplate, kind: template.kind };
  throw new ChatTemplateError(
    `'${name}' has no chat template, so it is not a chat model.`,
    "Give another model, let this one continue a text with 'mamba2 generate', or what you write here with --chat-template completion.",
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
  let wantsToLeave = false;
  // A terminal in raw mode sends Ctrl-C here and no SIGINT.
  lines.on('SIGINT', () => {
    if (answering) return answering.abort(STOPPED);
    const hadText = lines.line !== '';
    if (hadText) lines.write(null, { ctrl: true, name: 'u' });
    // A terminal that calls itself dumb clears nothing: there Ctrl-C means that it leaves, too.
    if (!hadText || lines.line !== '') {
      if (wantsToLeave) return lines.close();
      wantsToLeave = true;
      tell('\nCtrl-C again leaves, as Ctrl-D does.');
    }
    ask();
  });
  interrupted.addEventListener('abort', () => lines.close(), { once: true });
  ask();
  for await (const line of lines) {
    wantsToLeave = false;
    const message = line.trim();
    const command = commandOf(line);
    if (command === 'exit') break;
    if (command === 'reset') conversation.reset();
    if (command === 'help') tell(HELP);
    if (command === 'unknown') tell(`There is no command ${message}. ${HELP} A message may begin so after a space.`);
    if (command === undefined && message !== '') {
      answering = new AbortController();
      const signal = AbortSignal.any([answering.signal, interrupted]);
      try {
        const think = (text: string) => print(styled('dim', text, process.stdout));
        await conversation.answer(message, signal, print, lines.terminal ? think : undefined);
      } catch (error) {
        if (error !== STOPPED) throw error;
      } finally {
        answering = undefined;
        await print('\n');
      }
    }
    ask();
  }
  // Ctrl-C and Ctrl-D leave the cursor after the prompt.
  if (lines.terminal) await print('\n');
  lines.close();
  interrupted.throwIfAborted();
}

/** The command of a line that begins with a slash. Paths and comments are messages. */
function commandOf(line: string): keyof typeof COMMANDS | 'unknown' | undefined {
  const word = /^\/([a-z?]+)\s*$/i.exec(line)?.[1]?.toLowerCase();
  if (word === undefined) return undefined;
  if (Object.hasOwn(COMMANDS, word)) return word as keyof typeof COMMANDS;
  return Object.hasOwn(OTHER_NAMES, word) ? OTHER_NAMES[word] : 'unknown';
}

/** Prints to standard error: standard output has only the answers. */
function tell(text: string): void {
  process.stderr.write(`${styled('dim', text, process.stderr)}\n`);
}

const STOPPED = new Error('The answer was stopped.');
