;; Rounds blocks of float32 weights to integers of 4 or 8 bits, four output channels at a time. A group of channels is read as vectors, either
;; from adjacent floats or, where channels are apart, gathered into a tile of its own at address 0.
(module
  (memory (export "memory") 40)

  ;; tile[k] = the elements k of four channels that are `stride` bytes apart.
  (func $gather (param $value i32) (param $stride i32) (param $count i32)
    (local $tile i32) (local $end i32) (local $b i32) (local $c i32) (local $d i32)
    (local.set $end (i32.shl (local.get $count) (i32.const 4)))
    (local.set $b (i32.add (local.get $value) (local.get $stride)))
    (local.set $c (i32.add (local.get $b) (local.get $stride)))
    (local.set $d (i32.add (local.get $c) (local.get $stride)))
    (loop $next
      (if (i32.lt_u (local.get $tile) (local.get $end))
        (then
          (v128.store (local.get $tile)
            (v128.load32_lane 3 (local.get $d)
              (v128.load32_lane 2 (local.get $c)
                (v128.load32_lane 1 (local.get $b)
                  (v128.load32_splat (local.get $value))))))
          (local.set $value (i32.add (local.get $value) (i32.const 4)))
          (local.set $b (i32.add (local.get $b) (i32.const 4)))
          (local.set $c (i32.add (local.get $c) (i32.const 4)))
          (local.set $d (i32.add (local.get $d) (i32.const 4)))
          (local.set $tile (i32.add (local.get $tile) (i32.const 16)))
          (br $next)))))

  ;; One block of each of `channels` channels, rounded up to a multiple of four. `steps` divides the range, or the largest magnitude where
  ;; `middle` is not negative: then that is every zero point, and with `signed` the largest element takes the integer 0 whatever its sign.
  ;; Integers of a channel go to `target`, those of the next one `targetStride` bytes on; scales and zero points (int32) one after the other.
  (func (export "blocks")
        (param $value i32) (param $channelStride i32) (param $depthStride i32) (param $channels i32) (param $count i32) (param $bits i32)
        (param $steps f32) (param $middle f32) (param $signed i32) (param $largest f32)
        (param $target i32) (param $targetStride i32) (param $scales i32) (param $zeros i32)
    (local $group i32) (local $source i32) (local $step i32) (local $k i32) (local $at i32) (local $shift i32) (local $place i32)
    (local $v v128) (local $low v128) (local $high v128) (local $magnitude v128) (local $scale v128) (local $zero v128) (local $packed v128)
    (loop $channel
      (local.set $source (i32.add (local.get $value) (i32.mul (local.get $group) (local.get $channelStride))))
      (local.set $step (local.get $depthStride))
      (if (i32.ne (local.get $channelStride) (i32.const 4))
        (then
          (call $gather (local.get $source) (local.get $channelStride) (local.get $count))
          (local.set $source (i32.const 0))
          (local.set $step (i32.const 16))))

      (local.set $low (v128.const f32x4 0 0 0 0))
      (local.set $high (v128.const f32x4 0 0 0 0))
      (local.set $k (i32.const 0))
      (local.set $at (local.get $source))
      (loop $range
        (local.set $v (v128.load (local.get $at)))
        (local.set $low (f32x4.min (local.get $low) (local.get $v)))
        (local.set $high (f32x4.max (local.get $high) (local.get $v)))
        (local.set $at (i32.add (local.get $at) (local.get $step)))
        (local.set $k (i32.add (local.get $k) (i32.const 1)))
        (br_if $range (i32.lt_u (local.get $k) (local.get $count))))

      (if (f32.lt (local.get $middle) (f32.const 0))
        (then
          (local.set $scale
            (f32x4.max (v128.const f32x4 0x1p-126 0x1p-126 0x1p-126 0x1p-126)
              (f32x4.div (f32x4.sub (local.get $high) (local.get $low)) (f32x4.splat (local.get $steps)))))
          (local.set $zero
            (f32x4.min (f32x4.splat (local.get $largest))
              (f32x4.nearest (f32x4.div (f32x4.neg (local.get $low)) (local.get $scale))))))
        (else
          (local.set $magnitude (f32x4.max (local.get $high) (f32x4.neg (local.get $low))))
          (local.set $scale
            (f32x4.max (v128.const f32x4 0x1p-126 0x1p-126 0x1p-126 0x1p-126)
              (f32x4.div (local.get $magnitude) (f32x4.splat (local.get $steps)))))
          (if (local.get $signed)
            (then
              (local.set $scale
                (v128.bitselect (f32x4.neg (local.get $scale)) (local.get $scale)
                  (f32x4.gt (local.get $high) (f32x4.neg (local.get $low)))))))
          (local.set $zero (f32x4.splat (local.get $middle)))))
      (v128.store (i32.add (local.get $scales) (i32.shl (local.get $group) (i32.const 2))) (local.get $scale))
      (v128.store (i32.add (local.get $zeros) (i32.shl (local.get $group) (i32.const 2))) (i32x4.trunc_sat_f32x4_s (local.get $zero)))

      (local.set $k (i32.const 0))
      (local.set $at (local.get $source))
      (local.set $place (i32.add (local.get $target) (i32.mul (local.get $group) (local.get $targetStride))))
      (loop $word
        (local.set $packed (v128.const i32x4 0 0 0 0))
        (local.set $shift (i32.const 0))
        (loop $element
          (local.set $packed
            (v128.or (local.get $packed)
              (i32x4.shl
                (i32x4.trunc_sat_f32x4_s
                  (f32x4.min (f32x4.splat (local.get $largest))
                    (f32x4.max (v128.const f32x4 0 0 0 0)
                      (f32x4.add (local.get $zero)
                        (f32x4.nearest (f32x4.div (v128.load (local.get $at)) (local.get $scale)))))))
                (local.get $shift))))
          (local.set $at (i32.add (local.get $at) (local.get $step)))
          (local.set $k (i32.add (local.get $k) (i32.const 1)))
          (local.set $shift (i32.add (local.get $shift) (local.get $bits)))
          (br_if $element (i32.lt_u (local.get $shift) (i32.const 32))))
        (v128.store32_lane 0 (local.get $place) (local.get $packed))
        (v128.store32_lane 1 (i32.add (local.get $place) (local.get $targetStride)) (local.get $packed))
        (v128.store32_lane 2 (i32.add (local.get $place) (i32.mul (local.get $targetStride) (i32.const 2))) (local.get $packed))
        (v128.store32_lane 3 (i32.add (local.get $place) (i32.mul (local.get $targetStride) (i32.const 3))) (local.get $packed))
        (local.set $place (i32.add (local.get $place) (i32.const 4)))
        (br_if $word (i32.lt_u (local.get $k) (local.get $count))))

      (local.set $group (i32.add (local.get $group) (i32.const 4)))
      (br_if $channel (i32.lt_u (local.get $group) (local.get $channels))))))
