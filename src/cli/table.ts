/** Tables of plain text: aligned columns, two spaces apart, nothing after the last word of a line. */

/** What no cell contains: names are made `visible` before they come here. */
const SEPARATOR = '\0';
/** Characters that take two UTF-16 units. */
const HAS_PAIRS = /[\ud800-\udbff]/;

export interface Column<Row> {
  readonly title: string;
  readonly align?: 'left' | 'right';
  cell(row: Row): string;
  /** Emphasis of the padded cell, so that escape sequences never count as width. */
  readonly style?: (text: string, row: Row) => string;
}

/** One line a row under a line of titles, without a newline at the end; columns that are empty throughout are left
 *  out. */
export function renderTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  title: (text: string) => string = (text) => text,
): string {
  const widths = columns.map(() => 0);
  // The cells of a row in one string, since there may be hundreds of thousands of rows.
  const packed = rows.map((row) =>
    columns
      .map((column, index) => {
        const cell = column.cell(row);
        widths[index] = Math.max(widths[index] ?? 0, width(cell));
        return cell;
      })
      .join(SEPARATOR),
  );
  const used = columns
    .map((column, index) => ({ column, index, widest: widths[index] ?? 0 }))
    .filter(({ widest }) => widest > 0)
    .map(({ column, index, widest }) => ({ column, index, widest: Math.max(width(column.title), widest) }));
  const head = used.map(({ column, widest }) => pad(column.title, widest, column.align)).join('  ');
  const lines = rows.map((row, number) => {
    const cells = (packed[number] ?? '').split(SEPARATOR);
    const line = used.map(({ column, index, widest }) => {
      const padded = pad(cells[index] ?? '', widest, column.align);
      return column.style === undefined ? padded : column.style(padded, row);
    });
    return line.join('  ').trimEnd();
  });
  return [title(head.trimEnd()), ...lines].join('\n');
}

/** Name and value, one a line, the values under each other; a value that is empty leaves its line out. */
export function renderFields(fields: readonly (readonly [name: string, value: string])[]): string {
  const present = fields.filter(([, value]) => value !== '');
  const nameWidth = Math.max(...present.map(([name]) => width(name)));
  return present.map(([name, value]) => `  ${pad(name, nameWidth)}  ${value}`).join('\n');
}

/** Characters, not UTF-16 units; names that come from a guest are made `visible` before they come here. */
export function width(text: string): number {
  return HAS_PAIRS.test(text) ? [...text].length : text.length;
}

export function pad(text: string, columns: number, align: 'left' | 'right' = 'left'): string {
  const space = ' '.repeat(Math.max(0, columns - width(text)));
  return align === 'left' ? text + space : space + text;
}
