//! One per node: owns the Spark drivers of that node
