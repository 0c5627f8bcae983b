-- +goose Up
CREATE TABLE shipments (
    shipment_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    order_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    state VARCHAR(24) NOT NULL,
    service VARCHAR(32) NOT NULL,
    carrier VARCHAR(64) NOT NULL,
    tracking_number VARCHAR(128) NOT NULL,
    full_address VARCHAR(255) NOT NULL,
    postal_code VARCHAR(32) NOT NULL,
    city VARCHAR(120) NOT NULL,
    country CHAR(2) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX shipments_order_id ON shipments (order_id);
CREATE INDEX shipments_user_id ON shipments (user_id);

CREATE TABLE shipment_events (
    event_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    shipment_id BIGINT NOT NULL,
    from_state VARCHAR(24) NOT NULL,
    state VARCHAR(24) NOT NULL,
    carrier VARCHAR(64) NOT NULL,
    tracking_number VARCHAR(128) NOT NULL,
    note VARCHAR(255) NOT NULL,
    actor VARCHAR(64) NOT NULL,
    happened_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX shipment_events_shipment_id ON shipment_events (shipment_id);

CREATE TABLE order_items (
    order_item_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    product_id BIGINT NOT NULL,
    order_id BIGINT NOT NULL,
    ordered_quantity BIGINT,
    user_id BIGINT NOT NULL,
    shipment_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX order_items_key ON order_items (order_id, product_id);
CREATE INDEX order_items_user_id ON order_items (user_id);
CREATE INDEX order_items_shipment_id ON order_items (shipment_id);

CREATE TABLE notifications (
    notification_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    shipment_id BIGINT NOT NULL,
    order_id BIGINT NOT NULL,
    state VARCHAR(24) NOT NULL,
    tracking_number VARCHAR(128) NOT NULL,
    attempts INT NOT NULL,
    deliver_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX notifications_shipment_id ON notifications (shipment_id);
CREATE INDEX notifications_due ON notifications (deliver_at);
