#include "status/web_page.h"

namespace bareflow::status {

namespace {

constexpr std::string_view kPage = R"html(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>BareFlow</title>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
textarea,input,button{font:inherit;box-sizing:border-box}
textarea{width:100%;height:5rem}
input{width:6rem}
pre,#out{background:#8882;padding:.7rem;border-radius:.4rem;overflow-x:auto}
#out{white-space:pre-wrap;min-height:4rem}
label{margin-right:1rem;white-space:nowrap}
</style></head><body>
<h1>BareFlow</h1>
<p>A language model served without an operating system: this page, the network, the model and its
machine code are one program. <a href="/profile">/profile</a> shows what it measured about itself,
<a href="/health">/health</a> whether it is ready, <a href="/v1/models">/v1/models</a> what it
serves.</p>
<form id="f">
<p><textarea id="p" aria-label="Prompt">Once upon a time</textarea></p>
<p><label>Tokens <input id="n" type="number" value="64" min="1"></label>
<label>Temperature <input id="t" type="number" value="0.8" min="0" max="2" step="0.1"></label>
<button id="b">Complete</button></p>
</form>
<div id="out" aria-live="polite"></div><p id="s"></p>
<h2>From a terminal</h2>
<pre id="c">curl http://HOST/v1/completions -d '{"prompt":"Once upon a time","max_tokens":64}'
curl -N http://HOST/v1/completions -d '{"prompt":"Once upon a time","max_tokens":64,"stream":true}'
curl http://HOST/profile</pre>
<script>
const $=i=>document.getElementById(i);
$('c').textContent=$('c').textContent.replaceAll('HOST',location.host);
let stop=null;
$('f').onsubmit=async e=>{
 e.preventDefault();
 if(stop){stop.abort();return}
 stop=new AbortController();$('b').textContent='Stop';
 const prompt=$('p').value,out=$('out'),say=$('s');
 out.textContent=prompt;say.textContent='';
 try{
  const r=await fetch('/v1/completions',{method:'POST',signal:stop.signal,
   body:JSON.stringify({prompt,max_tokens:+$('n').value,temperature:+$('t').value,stream:true})});
  if(!r.ok){say.textContent=(await r.json()).error.message;return}
  const read=r.body.getReader(),text=new TextDecoder();
  let rest='';
  for(;;){
   const{done,value}=await read.read();
   if(done)break;
   rest+=text.decode(value,{stream:true});
   const lines=rest.split('\n');rest=lines.pop();
   for(const l of lines){
    if(!l.startsWith('data: ')||l==='data: [DONE]')continue;
    const d=JSON.parse(l.slice(6));
    if(d.error){say.textContent=d.error.message;continue}
    out.append(d.choices[0].text);
    if(d.usage)say.textContent=d.usage.completion_tokens+' tokens, '+
     d.bareflow.tokens_per_second.toFixed(1)+' a second ('+d.choices[0].finish_reason+')';
   }
  }
 }catch(x){say.textContent=x.name==='AbortError'?'Stopped.':String(x)}
 finally{stop=null;$('b').textContent='Complete'}
};
</script></body></html>
)html";

}  // namespace

void answer_web_page(http::Exchange &exchange) {
    exchange.respond_static({.status = 200, .content_type = http::kTypeHtml}, kPage);
}

void answer_favicon(http::Exchange &exchange) {
    exchange.respond({.status = 204, .content_type = {}, .cache = "max-age=86400"}, {});
}

}  // namespace bareflow::status
