//! Sender-selected distribution: the headers CC and BCC.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation};

use crate::harness::{Broker, Session, body, declare, error_of, get, message_count, scenario, table};

fn keys(keys: &[&str]) -> AMQPValue {
    let keys: Vec<_> = keys.iter().map(|key| AMQPValue::LongString((*key).into())).collect();
    AMQPValue::FieldArray(keys.into())
}

async fn confirming(broker: &Broker) -> Session {
    let session = broker.open().await;
    session.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    session
}

async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    headers: FieldTable,
) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_headers(headers).with_message_id("id".into());
    channel.basic_publish(exchange.into(), key.into(), options, b"m", properties).await?.await
}

#[test]
fn cc_and_bcc_are_further_keys_and_bcc_is_taken_out() {
    scenario(async |broker| {
        let session = confirming(broker).await;
        for queue in ["a", "b", "c", "d"] {
            declare(&session, queue).await;
        }
        let other = ("other", AMQPValue::LongInt(7));
        let headers = table([("CC", keys(&["b", "b", "a"])), ("BCC", keys(&["c", "a"])), other.clone()]);
        assert_eq!(publish(&session, "", "a", headers).await.unwrap(), Confirmation::Ack(None));
        assert_eq!(message_count(&session, "d").await, 0);
        for queue in ["a", "b", "c"] {
            let message = get(&session, queue).await.expect("a message");
            assert_eq!((body(&message), message.routing_key.as_str()), ("m", "a"));
            let headers = message.properties.headers().clone().unwrap();
            assert_eq!(headers, table([("CC", keys(&["b", "b", "a"])), other.clone()]));
            assert_eq!(message.properties.message_id().as_ref().unwrap().as_str(), "id");
            assert!(get(&session, queue).await.is_none(), "{queue} got it twice");
        }
    });
}

#[test]
fn each_key_is_matched_by_the_exchange() {
    scenario(async |broker| {
        let session = confirming(broker).await;
        for (queue, pattern) in [("one", "a.*"), ("two", "b.#"), ("three", "c")] {
            declare(&session, queue).await;
            let options = QueueBindOptions::default();
            let arguments = FieldTable::default();
            session
                .queue_bind(queue.into(), "amq.topic".into(), pattern.into(), options, arguments)
                .await
                .unwrap();
        }
        let headers = table([("BCC", keys(&["a.1", "a.2", "b"]))]);
        assert_eq!(publish(&session, "amq.topic", "nowhere", headers).await.unwrap(), Confirmation::Ack(None));
        assert_eq!(message_count(&session, "one").await, 1);
        assert_eq!(message_count(&session, "two").await, 1);
        assert_eq!(message_count(&session, "three").await, 0);
    });
}

#[test]
fn mandatory_is_returned_when_no_key_leads_anywhere() {
    scenario(async |broker| {
        let session = confirming(broker).await;
        let confirmation = publish(&session, "", "a", table([("CC", keys(&["b"]))])).await.unwrap();
        assert!(matches!(confirmation, Confirmation::Ack(Some(_))), "{confirmation:?}");
    });
}

#[test]
fn cc_that_is_no_array_closes_the_channel_406() {
    scenario(async |broker| {
        for (name, value, kind) in
            [("CC", AMQPValue::LongString("b".into()), "longstr"), ("BCC", AMQPValue::LongInt(5), "signedint")]
        {
            let session = confirming(broker).await;
            declare(&session, "a").await;
            let refused = publish(&session, "", "a", table([(name, value)])).await;
            let text = format!(
                "PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,\"{name}\",{kind}}}"
            );
            assert_eq!(error_of(refused), (406, text));
            let session = broker.open().await;
            assert_eq!(message_count(&session, "a").await, 0);
        }
    });
}
