import { CallListReader } from '../call-object.ts';
import type { ToolDialect } from '../tool-dialect.ts';

/** Texts around a call. */
interface Tags {
  readonly begin: string;
  readonly end: string;
  /** Whether the tags hold a list of calls. */
  readonly isList?: boolean;
}

/** A dialect that writes `{"name": …, "arguments": {…}}`, or a list of such, between two tags. */
export function taggedJson(name: string, { begin, end, isList = false }: Tags): ToolDialect {
  const [open, close] = isList ? ['[', ']'] : ['\n', '\n'];
  return {
    name,
    markers: [begin],
    endMarker: end,
    reader: (_, sink) => new CallListReader(sink),
    frame: (called) => ({
      begin: `${begin}${open}{"name": ${JSON.stringify(called)}, "arguments": `,
      arguments: 'json',
      end: `}${close}${end}`,
    }),
  };
}
