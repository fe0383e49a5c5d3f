/** Rows as CSV (RFC 4180), for spreadsheets. */

/** What a spreadsheet takes for the beginning of a formula. */
const FORMULA = /^(?:\s*[=+\-@＝＋－＠]|[\t\r\n])/;

/** Tells Excel that the file is UTF-8. */
const BYTE_ORDER_MARK = "\ufeff";

/** Returns the file's text. Strings never become formulas: those that could are preceded by an apostrophe. */
export function csv(rows) {
  return BYTE_ORDER_MARK + rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function cell(value) {
  if (typeof value !== "string") return String(value);
  const text = FORMULA.test(value) ? `'${value}` : value;
  return `"${text.replaceAll('"', '""')}"`;
}
