/** Tables of plain text: aligned columns, two spaces apart, nothing after the last word of a line. */

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
  const used = columns
    .map((column) => ({ column, cells: rows.map((row) => column.cell(row)) }))
    .filter(({ cells }) => cells.some((cell) => cell !== ''))
    .map(({ column, cells }) => ({
      column,
      cells,
      width: Math.max(width(column.title), ...cells.map(width)),
    }));
  const head = used.map(({ column, width }) => pad(column.title, width, column.align));
  const lines = rows.map((row, index) =>
    used.map(({ column, cells, width }) => {
      const padded = pad(cells[index] ?? '', width, column.align);
      return column.style === undefined ? padded : column.style(padded, row);
    }),
  );
  const [first, ...rest] = [head, ...lines].map((cells) => cells.join('  ').trimEnd());
  return [title(first ?? ''), ...rest].join('\n');
}

/** Name and value, one a line, the values under each other; a value that is empty leaves its line out. */
export function renderFields(fields: readonly (readonly [name: string, value: string])[]): string {
  const present = fields.filter(([, value]) => value !== '');
  const nameWidth = Math.max(...present.map(([name]) => width(name)));
  return present.map(([name, value]) => `  ${pad(name, nameWidth)}  ${value}`).join('\n');
}

/** Characters, not UTF-16 units; names that come from a guest are made `visible` before they come here. */
export function width(text: string): number {
  return [...text].length;
}

export function pad(text: string, columns: number, align: 'left' | 'right' = 'left'): string {
  const space = ' '.repeat(Math.max(0, columns - width(text)));
  return align === 'left' ? text + space : space + text;
}
