alter table catalog.products
  add column import_repeats varchar; -- the last import that set counts of `import_before`
