-- Answers like a model server. The model's name says how: "t50-g10-n16" waits 50 ms for the first token, 10 ms between
-- tokens, and says 16; "n16" says 16 without a pause, each in a write of its own, as a model server sends them;
-- "n16-burst" puts all of them into one write, which costs this process the least.
ngx.req.read_body()
local body = ngx.req.get_body_data() or ""
local model = body:match('"model"%s*:%s*"([%w-]*)"') or "n16"
local function setting(letter, otherwise) return tonumber(model:match(letter .. "(%d+)") or otherwise) end
local wait, gap, tokens = setting("t", 0) / 1000, setting("g", 0) / 1000, setting("n", 16)
local usage = '{"prompt_tokens":9,"completion_tokens":' .. tokens .. ',"total_tokens":' .. (9 + tokens) .. '}'

local in_one_write = model:find("burst", 1, true)

local function whole()
  local words = {}
  for i = 1, tokens do words[i] = "tok" .. i .. " " end
  local time = wait + gap * (tokens - 1)
  if time > 0 then ngx.sleep(time) end
  ngx.header["Content-Type"] = "application/json"
  ngx.print('{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"', model,
    '","choices":[{"index":0,"message":{"role":"assistant","content":"', table.concat(words),
    '"},"finish_reason":"stop"}],"usage":', usage, '}')
end

local function stream()
  local head = 'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"' .. model
    .. '","choices":['
  local function send(delta, finish)
    ngx.print(head, '{"index":0,"delta":', delta, ',"finish_reason":', finish, '}]}\n\n')
  end
  ngx.header["Content-Type"] = "text/event-stream"
  ngx.header["Cache-Control"] = "no-cache"
  if wait > 0 then ngx.sleep(wait) end
  send('{"role":"assistant","content":""}', "null")
  for i = 1, tokens do
    if gap > 0 and i > 1 then ngx.sleep(gap) end
    send('{"content":"tok' .. i .. ' "}', "null")
    if not in_one_write then ngx.flush(true) end
  end
  send("{}", '"stop"')
  if body:find('"include_usage"%s*:%s*true') then ngx.print(head, '],"usage":', usage, '}\n\n') end
  ngx.print("data: [DONE]\n\n")
end

if body:find('"stream"%s*:%s*true') then stream() else whole() end
