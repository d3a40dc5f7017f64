/** The page's style: two columns where there is room, dark where the reader's system is. */
export const style = `
:root{--bg:#fff;--fg:#1b1f24;--dim:#5b6470;--line:#e3e6ea;--soft:#f5f6f8;--link:#0a58ca;--code:#0f1720;--k:#0b4f9e;--s:#1a7f37;--n:#9a3b00;
--get:#0b6bcb;--post:#1a7f37;--put:#9a6700;--del:#c02626;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--bg:#0e1116;--fg:#e4e8ee;--dim:#98a2b0;--line:#262c35;--soft:#161b22;--link:#6cb0ff;--code:#e4e8ee;
--k:#7cc0ff;--s:#7ee2a0;--n:#ffb27a;--get:#58a6ff;--post:#4cc26c;--put:#dfae3c;--del:#ff7b72}}
*{box-sizing:border-box}
html{scroll-padding-top:1rem}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;display:grid;grid-template-columns:17.5rem minmax(0,1fr)}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
code,pre{font:.87em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
code{overflow-wrap:anywhere}
:not(pre)>code{background:var(--soft);border-radius:4px;padding:.1em .3em}
nav{position:sticky;top:0;height:100vh;overflow:auto;border-right:1px solid var(--line);padding:1.4rem 1rem 3rem 1.2rem;font-size:.9rem}
nav b{display:block;font-size:1.15rem;letter-spacing:-.01em}
nav small{color:var(--dim)}
nav h2{font-size:.74rem;text-transform:uppercase;letter-spacing:.07em;color:var(--dim);margin:1.5rem 0 .3rem;padding:0;border:0}
nav ul{list-style:none;margin:0;padding:0}
nav li a{display:flex;gap:.5rem;align-items:baseline;color:var(--fg);padding:.16rem 0}
nav label,#menu{display:none}
nav .m{font-size:.6rem;flex:0 0 2.9rem;padding:0;background:none;text-align:right}
main{padding:2rem clamp(1rem,3.5vw,3.5rem) 6rem;max-width:84rem}
h1{font-size:2rem;line-height:1.2;letter-spacing:-.02em;margin:0 0 1rem}
h2{font-size:1.35rem;letter-spacing:-.01em;margin:3rem 0 .6rem;padding-top:1.4rem;border-top:1px solid var(--line)}
.intro h2{font-size:1.08rem;margin:1.6rem 0 .3rem;padding:0;border:0}
.intro p,.intro ul,.op>p{max-width:46rem}
h3{font-size:1.12rem;margin:0 0 .3rem}h3 a{color:inherit}
h4{font-size:.78rem;text-transform:uppercase;letter-spacing:.06em;color:var(--dim);margin:1.3rem 0 .4rem}
h4 .in{text-transform:none;letter-spacing:0}
p{margin:.4rem 0}ul{padding-left:1.2rem}
.op{padding:1.6rem 0 1.2rem}.op+.op{border-top:1px solid var(--line)}
.op:target h3 a,tr:target code{background:color-mix(in srgb,var(--put) 28%,transparent)}
.line{display:flex;flex-wrap:wrap;gap:.3rem .6rem;align-items:center}
.path{font-size:.95rem;color:var(--code)}
.m{font:700 .72rem/1 ui-monospace,monospace;color:var(--get);padding:.28rem .45rem;border-radius:5px;background:color-mix(in srgb,currentColor 13%,transparent)}
.m.post{color:var(--post)}.m.put,.m.patch{color:var(--put)}.m.delete{color:var(--del)}
.in,small{color:var(--dim);font-size:.82rem;font-weight:400}
.cols{display:grid;grid-template-columns:minmax(0,1.15fr) minmax(0,1fr);grid-template-rows:auto 1fr;gap:0 2.2rem}
.cols aside{grid-column:2;grid-row:1/3}
.tight td{padding:.22rem .8rem .22rem 0;border:0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
td{border-top:1px solid var(--line);padding:.45rem .8rem .45rem 0;vertical-align:top}
tr:first-child td{border-top:0}
td:first-child{width:38%}
td:first-child:has(.st){width:3.6rem}
td div{font-size:.92em}
.t{color:var(--dim);font-size:.9em}
abbr{color:var(--del);text-decoration:none;font-weight:700}
.st{font:600 .85rem/1.6 ui-monospace,monospace;color:var(--post)}.s3{color:var(--get)}.s4{color:var(--put)}.s5{color:var(--del)}
.code{font:.82rem/1.7 ui-monospace,monospace;white-space:nowrap}
pre{background:var(--soft);border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;margin:0 0 .6rem;overflow-x:auto;max-height:34rem;color:var(--code)}
pre .k{color:var(--k)}pre .s{color:var(--s)}pre .n{color:var(--n)}
@media(max-width:70rem){.cols{display:block}}
@media(max-width:48rem){body{display:block;font-size:16px}main{padding-top:1rem}
nav{position:static;height:auto;border:0;border-bottom:1px solid var(--line);padding:1rem}
#menu{display:block;position:absolute;opacity:0}nav label{display:inline-block;margin-top:.6rem;padding:.4rem .8rem;border:1px solid var(--line);border-radius:6px}
#menu:focus-visible+label{outline:2px solid var(--link)}#menu:not(:checked)~div{display:none}
h1{font-size:1.6rem}td:first-child{width:42%}}
@media print{nav{display:none}body{display:block}pre{max-height:none;white-space:pre-wrap}}
`;
