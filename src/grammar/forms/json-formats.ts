const YEAR = '[0-9]{4}';
const MONTH_AND_DAY =
  '(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])';
const DATE = `${YEAR}-(${MONTH_AND_DAY})`;
const TIME = '([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+\\-]([01][0-9]|2[0-3]):[0-5][0-9])';
const BYTE = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const LABEL = '[a-zA-Z0-9]([a-zA-Z0-9\\-]{0,30}[a-zA-Z0-9])?';
/** A name in a domain of any length: where its parts are counted, a grammar has a state for each character. */
const DOMAIN = '[a-zA-Z0-9]+(-+[a-zA-Z0-9]+)*(\\.[a-zA-Z0-9]+(-+[a-zA-Z0-9]+)*)';
const HEX = '[0-9a-f]';

/** Regular expressions for formats of JSON Schema: texts that have the format, though not all of them. */
const FORMATS: ReadonlyMap<string, string> = new Map([
  ['date', DATE],
  ['time', TIME],
  ['date-time', `${DATE}T${TIME}`],
  ['uuid', `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}`],
  [
    'duration',
    'P([0-9]{1,4}[YMWD]|[0-9]{1,4}DT[0-9]{1,4}[HMS]|T[0-9]{1,4}[HMS]|T[0-9]{1,2}H[0-9]{1,2}M([0-9]{1,2}S)?)',
  ],
  ['ipv4', `${BYTE}(\\.${BYTE}){3}`],
  ['ipv6', `(${HEX}{1,4}:){7}${HEX}{1,4}`],
  ['email', `[a-z0-9]+([._\\-][a-z0-9]+)*@${DOMAIN}+`],
  ['hostname', `${LABEL}(\\.${LABEL}){0,4}`],
  ['uri', `https?://${DOMAIN}*(/[a-zA-Z0-9_.~\\-]*)*`],
]);

/** Formats of which the texts of another one are some. */
const NARROWER: ReadonlyMap<string, string> = new Map([
  ['idn-email', 'email'],
  ['idn-hostname', 'hostname'],
  ['iri', 'uri'],
  ['iri-reference', 'uri'],
  ['uri-reference', 'uri'],
]);

export function formatPattern(format: string): string | undefined {
  return FORMATS.get(NARROWER.get(format) ?? format);
}
