export function docsPage(document: object): string {
  return `<!doctype html><pre>${JSON.stringify(document).replaceAll('<', '&lt;')}</pre>`;
}
