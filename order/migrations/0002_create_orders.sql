-- +goose Up
-- payment_id and shipment_id are 0 while there is none.
CREATE TABLE orders (
    order_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    cart_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    status VARCHAR(16) NOT NULL,
    order_date BIGINT NOT NULL,
    order_desc VARCHAR(255),
    order_fee BIGINT,
    currency CHAR(3) NOT NULL,
    subtotal BIGINT NOT NULL,
    shipping_fee BIGINT NOT NULL,
    tax BIGINT NOT NULL,
    full_address VARCHAR(255) NOT NULL,
    postal_code VARCHAR(32) NOT NULL,
    city VARCHAR(120) NOT NULL,
    country VARCHAR(2) NOT NULL,
    shipping_service VARCHAR(64) NOT NULL,
    payment_id BIGINT NOT NULL,
    payment_state VARCHAR(32) NOT NULL,
    shipment_id BIGINT NOT NULL,
    shipment_state VARCHAR(32) NOT NULL,
    tracking_number VARCHAR(128) NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    FOREIGN KEY (cart_id) REFERENCES carts (cart_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX orders_user_id ON orders (user_id, order_id);
CREATE INDEX orders_status ON orders (status, order_id);
CREATE INDEX orders_order_date ON orders (order_date, order_id);
CREATE INDEX orders_cart_id ON orders (cart_id, order_id);
CREATE INDEX orders_payment_id ON orders (payment_id);

-- Lines are what was sold, as it was then; they never change.
CREATE TABLE order_lines (
    order_id BIGINT NOT NULL,
    product_id BIGINT NOT NULL,
    product_title VARCHAR(255) NOT NULL,
    sku VARCHAR(255) NOT NULL,
    quantity BIGINT NOT NULL,
    unit_price BIGINT NOT NULL,
    line_total BIGINT NOT NULL,
    tax BIGINT NOT NULL,
    currency CHAR(3) NOT NULL,
    PRIMARY KEY (order_id, product_id),
    CHECK (quantity > 0),
    FOREIGN KEY (order_id) REFERENCES orders (order_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The history of an order: seq counts from 1 without gaps, from_status is '' at the first.
CREATE TABLE order_transitions (
    order_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    from_status VARCHAR(16) NOT NULL,
    to_status VARCHAR(16) NOT NULL,
    happened_at BIGINT NOT NULL,
    actor VARCHAR(64) NOT NULL,
    reason VARCHAR(255) NOT NULL,
    PRIMARY KEY (order_id, seq),
    FOREIGN KEY (order_id) REFERENCES orders (order_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
