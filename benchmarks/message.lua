-- wrk's requests: each message unlike any other. The arguments after wrk's own are the message's
-- text before and after its 12-digit serial number, the first serial number, and how many messages
-- a request holds (0: a single object, no array).
local head, tail, serial, batch, start

local function number()
    serial = serial + 1
    return string.format("%012d", serial)
end

local function body()
    if batch == 0 then
        return head .. number() .. tail
    end
    local messages = {}
    for at = 1, batch do
        messages[at] = head .. number() .. tail
    end
    return "[" .. table.concat(messages, ",") .. "]"
end

function init(arguments)
    head, tail = arguments[1], arguments[2]
    serial, batch = tonumber(arguments[3]), tonumber(arguments[4])
    -- All bodies are of one length, so the head of the request is made once.
    start = wrk.format("POST", nil, nil, body())
    start = start:sub(1, select(2, start:find("\r\n\r\n", 1, true)))
end

function request()
    return start .. body()
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"errors":%d,"seconds":%.6f,"p50":%d,"p99":%d}\n',
        summary.requests,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        summary.duration / 1e6, latency:percentile(50), latency:percentile(99)))
end
