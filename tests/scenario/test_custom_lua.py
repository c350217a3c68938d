"""Mail goes out by Lua: a policy's own connection object, over HTTP."""

from __future__ import annotations

from support.daemon import SMTP_LISTENER, Daemon, Sink, mail, relay_policy
from support.ports import unused_port
from support.webhook import WebPeer

CUSTOM = """
kumo.on('smtp_server_message_received', function(msg)
  msg:set_meta('tenant', 'by_lua')
end)
kumo.on('get_queue_config', function(domain, tenant, campaign)
  if tenant == 'by_lua' then
    return kumo.make_queue_config {
      protocol = { custom_lua = { constructor = 'make.it', %(batching)s } },
      retry_interval = '1 second', max_retry_interval = '1 second',
    }
  end
end)
kumo.on('make.it', function(domain, tenant, campaign)
  local client = kumo.http.build_client {}
  local connection = {}
  function connection:%(method)s
    local request = client:post 'http://127.0.0.1:%(port)d/send'
    request:header('Content-Type', 'text/plain')
    request:body(%(body)s)
    local response = request:send()
    local disposition = string.format('%%d %%s', response:status_code(), response:text())
    if response:status_is_success() then
      return disposition
    end
    kumo.reject(response:status_code() == 503 and 400 or 500, disposition)
  end
  function connection:close() client:close() end
  return connection
end)
"""
ONE = {"batching": "", "method": "send(message)", "body": "message:get_data()"}
MANY = {
    "batching": "batch_size = 10, min_batch_size = 5, max_batch_latency = '5 seconds',",
    "method": "send_batch(messages)",
    "body": "tostring(#messages)",
}


def policy(directory, port: int, kind: dict[str, str]) -> str:
    return relay_policy(directory, 9, SMTP_LISTENER, CUSTOM % {**kind, "port": port})


def test_each_answer_of_the_service_has_its_consequence(tmp_path) -> None:
    """2xx delivers, a rejection with 4xx is retried, any other bounces; the log has the service's own words."""
    answers = [(503, "busy"), (200, "queued as 17"), (400, "no such list")]
    with WebPeer(answers) as peer, Daemon(tmp_path, policy(tmp_path, peer.port, ONE)) as daemon:
        with daemon.smtp() as client:
            client.sendmail("a@example.com", ["b@example.org"], mail("one", "by lua"))
            (delivery,) = daemon.wait_for_records("Delivery", 1)
            client.sendmail("a@example.com", ["c@example.org"], mail("two"))
        (bounce,) = daemon.wait_for_records("Bounce", 1)
        (deferred,) = daemon.records("TransientFailure")
    assert delivery["response"] == {"code": 200, "enhanced_code": None, "content": "200 queued as 17", "command": None}
    assert delivery["delivery_protocol"] == "Lua"
    assert delivery["peer_address"] == {"name": "Lua via make.it", "addr": "0.0.0.0"}
    assert delivery["num_attempts"] == 1
    assert deferred["response"]["content"] == "503 busy"
    assert bounce["response"]["code"] == 500
    assert bounce["response"]["content"] == "400 no such list"
    assert b"by lua" in peer.requests[1].body


def test_messages_go_in_batches(tmp_path) -> None:
    """send_batch gets up to batch_size messages, and fewer after max_batch_latency."""
    with WebPeer() as peer, Daemon(tmp_path, policy(tmp_path, peer.port, MANY)) as daemon:
        with daemon.smtp() as client:
            for number in range(12):
                client.sendmail("a@example.com", ["b@example.org"], mail(str(number)))
        daemon.wait_for_records("Delivery", 12)
    sizes = [int(request.body) for request in peer.requests]
    assert sum(sizes) == 12
    assert max(sizes) <= 10
    assert max(sizes) >= 5


def test_a_service_that_is_down_costs_no_message(tmp_path) -> None:
    """A transport error is a transient failure; the message goes out when the service is back."""
    port = unused_port()
    with Daemon(tmp_path, policy(tmp_path, port, ONE)) as daemon:
        with daemon.smtp() as client:
            client.sendmail("a@example.com", ["b@example.org"], mail("one"))
        (failure, *_) = daemon.wait_for_records("TransientFailure", 1)
        with WebPeer(port=port):
            daemon.wait_for_records("Delivery", 1)
    assert failure["response"]["content"].startswith("KumoMTA internal: error in deliver_message: ")


def test_the_log_feed_is_retried_like_mail(tmp_path) -> None:
    """A webhook that is down for a while gets every record in the end, each once."""
    hook = """
kumo.on('pre_init', function()
  kumo.configure_log_hook { name = 'feed', headers = { 'Subject' } }
end)
kumo.on('should_enqueue_log_record', function(msg, hook)
  if hook == 'feed' and msg:get_meta('log_record').reception_protocol ~= 'LogRecord' then
    msg:set_meta('queue', 'feed.log_hook')
    return true
  end
  return false
end)
kumo.on('get_queue_config', function(domain, tenant, campaign)
  if domain == 'feed.log_hook' then
    return kumo.make_queue_config {
      protocol = { custom_lua = { constructor = 'make.feed' } },
      retry_interval = '1 second', max_retry_interval = '1 second',
    }
  end
end)
kumo.on('make.feed', function()
  local client = kumo.http.build_client {}
  local connection = {}
  function connection:send(message)
    local response = client:post('http://127.0.0.1:%d/feed'):header('Content-Type', 'application/json')
      :body(message:get_data()):send()
    if response:status_is_success() then return 'ok' end
    kumo.reject(400, tostring(response:status_code()))
  end
  return connection
end)
"""
    with Sink(tmp_path) as sink, WebPeer([(500, "down")] * 3) as peer:
        text = relay_policy(tmp_path, sink.port, SMTP_LISTENER, hook % peer.port)
        with Daemon(tmp_path, text) as daemon:
            with daemon.smtp() as client:
                client.sendmail("a@example.com", ["b@example.org"], mail("fed"))
            peer.wait_for(lambda: len(peer.taken) == 2, "two records at the webhook")
    fed = [request.json() for request in peer.taken]
    assert sorted(record["type"] for record in fed) == ["Delivery", "Reception"]
    assert {record["headers"]["Subject"] for record in fed} == {"fed"}
    assert len(peer.requests) == 5
