import { styleText } from 'node:util';

/** The text in a style, where the stream is a terminal and NO_COLOR (https://no-color.org) is not set. */
export function styled(style: 'bold' | 'dim' | 'red' | 'yellow', text: string, stream: NodeJS.WriteStream): string {
  return stream.isTTY && !process.env.NO_COLOR ? styleText(style, text) : text;
}
