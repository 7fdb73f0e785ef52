/** Emphasis on a terminal, and nothing at all anywhere else. */

export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  yellow(text: string): string;
}

/** The part of a stream that decides whether a person is watching. */
export interface MaybeTerminal {
  readonly isTTY?: boolean | undefined;
}

/** Colour only for a terminal that can show it, and never against NO_COLOR (https://no-color.org). */
export function styleFor(stream: MaybeTerminal, env: NodeJS.ProcessEnv = process.env): Style {
  const enabled = stream.isTTY === true && env['TERM'] !== 'dumb' && (env['NO_COLOR'] ?? '') === '';
  const wrap = (open: number, close: number) => (text: string) =>
    enabled && text !== '' ? `\x1b[${open}m${text}\x1b[${close}m` : text;
  return { bold: wrap(1, 22), dim: wrap(2, 22), red: wrap(31, 39), yellow: wrap(33, 39) };
}

/** Whether the terminal draws box characters, as its locale tells. */
export function drawsUnicode(env: NodeJS.ProcessEnv = process.env): boolean {
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '';
  return /utf-?8/i.test(locale);
}
